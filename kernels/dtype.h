// Element types and their conversions. Header only: conversions are inlined into the loops that use them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace ovi {

enum class DType : std::uint8_t { kF32, kBF16, kF16, kF8E4M3, kI8, kU8, kI32, kI64 };

constexpr std::int64_t ElementBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kF8E4M3:
    case DType::kI8:
    case DType::kU8:
      return 1;
    case DType::kI64:
      return 8;
  }
  return 0;
}

// The name safetensors uses: "F32", "BF16", "F8_E4M3", ...
constexpr std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kI8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
  }
  return "?";
}

// A bfloat16: the upper half of a float32.
struct BFloat16 {
  std::uint16_t bits;
};

inline float ToFloat(BFloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}
inline float ToFloat(float x) {
  return x;
}

// Round to nearest, ties to even; NaN stays NaN (quiet).
inline BFloat16 ToBFloat16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet_nan = (bits >> 16) | 0x40u;
  return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded)};
}

template <typename T>
T FromFloat(float x);
template <>
inline float FromFloat<float>(float x) {
  return x;
}
template <>
inline BFloat16 FromFloat<BFloat16>(float x) {
  return ToBFloat16(x);
}

// The value a bf16 register would hold.
inline float RoundToBFloat16(float x) {
  return ToFloat(ToBFloat16(x));
}

inline void RoundToBFloat16(std::span<float> values) {
  for (float& value : values) value = RoundToBFloat16(value);
}

// IEEE binary16, bit pattern in, float out (subnormals, infinities and NaN included).
inline float HalfToFloat(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// OCP float8 e4m3fn: bias 7, no infinities, 0x7f and 0xff are NaN.
inline float Float8E4M3ToFloat(std::uint8_t byte) {
  const std::uint32_t sign = static_cast<std::uint32_t>(byte & 0x80u) << 24;
  const std::uint32_t exponent = (byte >> 3) & 0xfu;
  const std::uint32_t mantissa = byte & 0x7u;
  if (exponent == 0xf && mantissa == 0x7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  return sign != 0 ? -magnitude : magnitude;
}

// Round to nearest, ties to even; beyond 448, the largest, and for NaN a NaN. Both ways are computed and one
// is chosen, so that loops over it become vectors.
inline std::uint8_t ToFloat8E4M3(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Under 2^-6: steps of 2^-9, which adding 2^14 leaves in the low bits.
  constexpr float kRound = 16384.0f;
  const std::uint32_t small = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + kRound) & 0xfu;
  const std::uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
  const std::uint32_t shifted = (rounded >> 20) - (120u << 3);
  const std::uint32_t large = shifted > 0x7eu ? 0x7eu : shifted;
  const std::uint32_t number = magnitude < 0x3c800000u ? small : large;
  return static_cast<std::uint8_t>(sign | (magnitude > 0x7f800000u ? 0x7fu : number));
}

}  // namespace ovi
