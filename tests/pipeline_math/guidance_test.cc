#include "worker/pipeline/math/guidance.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/dtype.h"

namespace ovi {
namespace {

TEST(Guide, IsTheNegativePlusTheScaledDifference) {
  const std::vector<float> positive = {1.0f, -2.0f, 0.3f, 5.0f};
  const std::vector<float> negative = {0.5f, -1.0f, 0.3f, -5.0f};
  std::vector<float> out(4);
  Guide(positive, negative, 4.0f, Rounding::kFloat32, out);
  EXPECT_EQ(out, (std::vector<float>{2.5f, -5.0f, 0.3f, 35.0f}));
  Guide(positive, negative, 1.0f, Rounding::kFloat32, out);
  EXPECT_EQ(out, positive);
  Guide(positive, negative, 0.0f, Rounding::kFloat32, out);
  EXPECT_EQ(out, negative);
}

TEST(Guide, RoundsEachOfTheThreeOperationsToBf16) {
  // 1.0078125 is one bf16 step above 1. The difference 1.0078125 - 2^-9 = 1.005859375 rounds to 1.0078125
  // (tie-free), times 3 = 3.0234375 rounds to 3.03125 (ties to even), plus 2^-9 stays there.
  const std::vector<float> positive = {1.0078125f};
  const std::vector<float> negative = {0x1p-9f};
  std::vector<float> out(1);
  Guide(positive, negative, 3.0f, Rounding::kBf16AsExecuted, out);
  EXPECT_EQ(out[0], 3.03125f);
  Guide(positive, negative, 3.0f, Rounding::kFloat32, out);
  EXPECT_EQ(out[0], 3.01953125f);
}

TEST(Guide, MayWriteOverEitherPrediction) {
  std::vector<float> positive = {1.0f, 2.0f};
  const std::vector<float> negative = {0.0f, 1.0f};
  Guide(positive, negative, 3.0f, Rounding::kFloat32, positive);
  EXPECT_EQ(positive, (std::vector<float>{3.0f, 4.0f}));
  std::vector<float> other = {0.0f, 1.0f};
  Guide(std::vector<float>{1.0f, 2.0f}, other, 3.0f, Rounding::kFloat32, other);
  EXPECT_EQ(other, (std::vector<float>{3.0f, 4.0f}));
}

}  // namespace
}  // namespace ovi
