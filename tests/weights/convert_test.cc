#include "worker/weights/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/weights/weight_files.h"

namespace ovi {
namespace {

using test::Le;
using testing::ElementsAre;

TEST(ToFloats, WidensEveryType) {
  const struct {
    DType dtype;
    std::string bytes;
    std::vector<float> values;
  } cases[] = {
      {DType::kF32, Le(std::vector<float>{1.5f, -0.25f}), {1.5f, -0.25f}},
      {DType::kBF16, Le(std::vector<std::uint16_t>{0x3f80, 0xc000}), {1.0f, -2.0f}},
      {DType::kF16, Le(std::vector<std::uint16_t>{0x3c00, 0x0001}), {1.0f, 0x1p-24f}},
      {DType::kF8E4M3, "\x38\xfe", {1.0f, -448.0f}},
      {DType::kI8, "\x7f\x80", {127.0f, -128.0f}},
      {DType::kU8, "\x01\xff", {1.0f, 255.0f}},
      {DType::kI32, Le(std::vector<std::int32_t>{-5, 1 << 24}), {-5.0f, 16777216.0f}},
      {DType::kI64, Le(std::vector<std::int64_t>{-5, std::int64_t{1} << 40}), {-5.0f, 0x1p40f}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(DTypeName(c.dtype)));
    // At an odd address, where a file may well put it.
    const std::string shifted = "?" + c.bytes;
    const HostTensor tensor{shifted.data() + 1, c.dtype, {2}};
    EXPECT_EQ(ToFloats(tensor), c.values);
    std::vector<float> second(1);
    ToFloats(tensor, 1, second);
    EXPECT_THAT(second, ElementsAre(c.values[1]));
  }
}

TEST(ToFloats, ScalesTheRowsOfAQuantisedMatrix) {
  const std::string stored = "?\x01\x02\xff\x03\x04\xfe";
  const std::string scales = "?" + Le(std::vector<float>{0.5f, 4.0f});
  const HostTensor tensor{stored.data() + 1, DType::kI8, {2, 3}, nullptr, scales.data() + 1};
  EXPECT_THAT(ToFloats(tensor), ElementsAre(0.5f, 1.0f, -0.5f, 12.0f, 16.0f, -8.0f));
  std::vector<float> across(3);
  ToFloats(tensor, 2, across);
  EXPECT_THAT(across, ElementsAre(-0.5f, 12.0f, 16.0f));
}

TEST(ToFloats, GivesNothingForAnEmptyTensor) {
  EXPECT_TRUE(ToFloats(HostTensor{nullptr, DType::kF32, {0, 3}}).empty());
}

TEST(ToFloatsDeathTest, ChecksThatTheRangeIsInside) {
  const float value = 1.0f;
  std::vector<float> two(2);
  EXPECT_DEATH(ToFloats(HostTensor{&value, DType::kF32, {1}}, 0, two), "broken invariant");
}

}  // namespace
}  // namespace ovi
