// Number formats against their definitions in double, over every bit pattern where there are few enough.
#include "kernels/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace ovi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// (-1)^s 2^(e - bias) 1.m, or 2^(1 - bias) 0.m when e = 0; every exponent taken for a number.
double Decode(std::uint32_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto mantissa = static_cast<double>(bits & ((1u << mantissa_bits) - 1));
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const double sign = (bits >> (mantissa_bits + exponent_bits) & 1) != 0 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + std::ldexp(1, mantissa_bits), exponent - bias - mantissa_bits);
}

TEST(Half, EveryPatternHasItsValue) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = HalfToFloat(static_cast<std::uint16_t>(bits));
    const bool negative = (bits & 0x8000) != 0;
    ASSERT_EQ(std::signbit(value), negative) << bits;
    if ((bits & 0x7c00) != 0x7c00) {
      ASSERT_EQ(value, Decode(bits, 5, 10)) << bits;
    } else if ((bits & 0x3ff) == 0) {
      ASSERT_EQ(value, negative ? -kInfinity : kInfinity);
    } else {
      ASSERT_TRUE(std::isnan(value)) << bits;
    }
  }
}

TEST(Float8E4M3, EveryPatternHasItsValue) {
  for (std::uint32_t bits = 0; bits < 256; ++bits) {
    const float value = Float8E4M3ToFloat(static_cast<std::uint8_t>(bits));
    ASSERT_EQ(std::signbit(value), (bits & 0x80) != 0) << bits;
    if ((bits & 0x7f) == 0x7f) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else {
      ASSERT_EQ(value, Decode(bits, 4, 3)) << bits;
    }
  }
  EXPECT_EQ(Float8E4M3ToFloat(0x7e), 448) << "the largest";
  EXPECT_EQ(Float8E4M3ToFloat(0x01), std::ldexp(1, -9)) << "the smallest";
}

TEST(Float8E4M3, EveryPatternSurvivesTheWayThroughF32) {
  for (std::uint32_t bits = 0; bits < 256; ++bits) {
    ASSERT_EQ(ToFloat8E4M3(Float8E4M3ToFloat(static_cast<std::uint8_t>(bits))), bits);
  }
}

TEST(Float8E4M3, RoundsToNearestTiesToEven) {
  for (std::uint32_t below = 0; below < 0x7e; ++below) {
    const auto byte = static_cast<std::uint8_t>(below);
    const auto above = static_cast<std::uint8_t>(below + 1);
    const float low = Float8E4M3ToFloat(byte);
    const float high = Float8E4M3ToFloat(above);
    const float middle = (low + high) / 2;
    const std::uint8_t even = below % 2 == 0 ? byte : above;
    for (const float sign : {1.0f, -1.0f}) {
      const std::uint8_t of_sign = sign < 0 ? 0x80 : 0;
      ASSERT_EQ(ToFloat8E4M3(sign * middle), even | of_sign) << below;
      ASSERT_EQ(ToFloat8E4M3(sign * std::nextafter(middle, low)), byte | of_sign) << below;
      ASSERT_EQ(ToFloat8E4M3(sign * std::nextafter(middle, high)), above | of_sign) << below;
    }
  }
}

TEST(Float8E4M3, SaturatesAndKeepsNaN) {
  EXPECT_EQ(ToFloat8E4M3(1e9f), 0x7e);
  EXPECT_EQ(ToFloat8E4M3(-kInfinity), 0xfe);
  EXPECT_EQ(ToFloat8E4M3(465.0f), 0x7e);
  EXPECT_EQ(ToFloat8E4M3(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
  EXPECT_EQ(ToFloat8E4M3(-0.0f), 0x80);
  EXPECT_EQ(ToFloat8E4M3(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(BFloat16, EveryPatternSurvivesTheWayThroughF32) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const BFloat16 x{static_cast<std::uint16_t>(bits)};
    const float value = ToFloat(x);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(RoundToBFloat16(value))) << bits;
      ASSERT_EQ(ToBFloat16(value).bits, bits | 0x40) << "quiet, payload and sign kept";
      continue;
    }
    if ((bits & 0x7f80) != 0x7f80) {
      ASSERT_EQ(value, Decode(bits, 8, 7)) << bits;
    }
    ASSERT_EQ(ToBFloat16(value).bits, bits);
  }
}

TEST(BFloat16, RoundsToNearestTiesToEven) {
  const auto bits = [](float x) { return ToBFloat16(x).bits; };
  EXPECT_EQ(bits(1.0f), 0x3f80);
  EXPECT_EQ(bits(1.0f + 0x1p-8f), 0x3f80) << "a tie to the even value below";
  EXPECT_EQ(bits(1.0f + 3 * 0x1p-8f), 0x3f82) << "a tie to the even value above";
  EXPECT_EQ(bits(std::nextafter(1.0f + 0x1p-8f, 2.0f)), 0x3f81);
  EXPECT_EQ(bits(std::nextafter(1.0f + 3 * 0x1p-8f, 1.0f)), 0x3f81);
  EXPECT_EQ(bits(-1.0f - 0x1p-8f), 0xbf80);
  EXPECT_EQ(bits(-0.0f), 0x8000);
  EXPECT_EQ(bits(0x1p-149f), 0) << "below half of the smallest subnormal";
  EXPECT_EQ(bits(0x1p-133f), 1) << "the smallest subnormal";
  EXPECT_EQ(bits(std::bit_cast<float>(0x7f7f7fffu)), 0x7f7f) << "the last value before infinity";
  EXPECT_EQ(bits(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(bits(kInfinity), 0x7f80);
  EXPECT_EQ(bits(-kInfinity), 0xff80);
  // A NaN whose payload lies in the lower half only must not become infinity, nor overflow into the sign.
  EXPECT_EQ(bits(std::bit_cast<float>(0x7f800001u)), 0x7fc0);
  EXPECT_EQ(bits(std::bit_cast<float>(0xffffffffu)), 0xffff);
}

TEST(BFloat16, IsNeverFurtherThanItsNeighbours) {
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isfinite(x) || std::fabs(x) > 3e38f) continue;
    const BFloat16 rounded = ToBFloat16(x);
    const double error = std::fabs(static_cast<double>(ToFloat(rounded)) - x);
    for (const int step : {-1, 1}) {
      const double neighbour = ToFloat(BFloat16{static_cast<std::uint16_t>(rounded.bits + step)});
      const double other = std::fabs(neighbour - x);
      if (std::isnan(other)) continue;
      ASSERT_LE(error, other) << x;
      if (error == other) {
        ASSERT_EQ(rounded.bits & 1, 0) << x;
      }
    }
  }
}

TEST(DType, KnowsItsSizeAndName) {
  const struct {
    DType dtype;
    std::int64_t bytes;
    const char* name;
  } rows[] = {{DType::kF32, 4, "F32"},        {DType::kBF16, 2, "BF16"}, {DType::kF16, 2, "F16"},
              {DType::kF8E4M3, 1, "F8_E4M3"}, {DType::kI8, 1, "I8"},     {DType::kU8, 1, "U8"},
              {DType::kI32, 4, "I32"},        {DType::kI64, 8, "I64"}};
  for (const auto& row : rows) {
    EXPECT_EQ(ElementBytes(row.dtype), row.bytes) << row.name;
    EXPECT_EQ(DTypeName(row.dtype), row.name);
  }
}

}  // namespace
}  // namespace ovi
