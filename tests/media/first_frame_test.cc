// The first frame's tensor against a plain double implementation of bicubic, and its bfloat16 rounding
// points.
#include "worker/media/first_frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/dtype.h"
#include "tests/media/test_images.h"

namespace ovi {
namespace {

// The cubic convolution kernel by its textbook formula, a = -0.75.
double Kernel(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
  if (x < 2) return a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a;
  return 0;
}

double Reference(const Image& image, FrameSize size, std::int64_t c, std::int64_t y, std::int64_t x) {
  const double v =
      (static_cast<double>(y) + 0.5) * static_cast<double>(image.height) / static_cast<double>(size.height) -
      0.5;
  const double u =
      (static_cast<double>(x) + 0.5) * static_cast<double>(image.width) / static_cast<double>(size.width) -
      0.5;
  double sum = 0;
  for (int j = -1; j <= 2; ++j) {
    for (int i = -1; i <= 2; ++i) {
      const double row = std::floor(v) + j, column = std::floor(u) + i;
      const auto at_row = std::clamp<std::int64_t>(static_cast<std::int64_t>(row), 0, image.height - 1);
      const auto at_column = std::clamp<std::int64_t>(static_cast<std::int64_t>(column), 0, image.width - 1);
      const double value =
          image.rgb[static_cast<std::size_t>((at_row * image.width + at_column) * 3 + c)] / 255.0 * 2 - 1;
      sum += value * Kernel(v - row) * Kernel(u - column);
    }
  }
  return sum;
}

Image Noise(int width, int height) {
  Image image{height, width, {}};
  std::uint32_t state = 1;
  for (int i = 0; i < width * height * 3; ++i) {
    state = state * 1664525u + 1013904223u;
    image.rgb.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  return image;
}

TEST(FirstFrameTensor, MatchesBicubicInDouble) {
  struct Case {
    int width, height;
    FrameSize size;
  };
  const Case cases[] = {{80, 48, {64, 96}}, {91, 37, {32, 96}},   {50, 120, {160, 64}},
                        {7, 5, {32, 32}},   {300, 200, {32, 64}}, {1, 1, {32, 32}}};
  for (const Case& c : cases) {
    const Image image = Noise(c.width, c.height);
    const std::vector<float> tensor = FirstFrameTensor(image, c.size, false);
    const std::vector<float> rounded = FirstFrameTensor(image, c.size, true);
    ASSERT_EQ(tensor.size(), static_cast<std::size_t>(3 * c.size.height * c.size.width));
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(tensor.size()); ++i) {
      const std::int64_t x = i % c.size.width, y = i / c.size.width % c.size.height,
                         channel = i / c.size.width / c.size.height;
      const double expected = Reference(image, c.size, channel, y, x);
      ASSERT_NEAR(tensor[static_cast<std::size_t>(i)], expected, 3e-5)
          << c.width << "x" << c.height << " at " << i;
      // Rounded three times to 8 bits: inputs up to 2^-8 off each, times the weights' sum of up to 1.5
      // squared.
      const float as_executed = rounded[static_cast<std::size_t>(i)];
      ASSERT_NEAR(as_executed, expected, 0.02);
      ASSERT_EQ(as_executed, RoundToBFloat16(as_executed));
    }
  }
}

TEST(FirstFrameTensor, KeepsAnImageOfTheRightSize) {
  const Image image = Gradient(32, 32);
  const std::vector<float> exact = FirstFrameTensor(image, {32, 32}, false);
  const std::vector<float> rounded = FirstFrameTensor(image, {32, 32}, true);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const auto byte = static_cast<float>(image.rgb[i % 1024 * 3 + i / 1024]);
    ASSERT_EQ(exact[i], byte / 255.0f * 2.0f - 1.0f);
    ASSERT_EQ(rounded[i], RoundToBFloat16(RoundToBFloat16(byte / 255.0f) * 2.0f - 1.0f));
  }
}

TEST(FirstFrameTensor, RoundsBeforeAndAfterTheSubtraction) {
  // 128 / 255 = 0.50196 becomes 0.50390625 in bfloat16, in steps of 2^-8; doubled minus 1 that is 0.0078125.
  // Rounding at the end only would give 0.00392.
  const Image grey{1, 1, {128, 128, 128}};
  EXPECT_EQ(FirstFrameTensor(grey, {1, 1}, true)[0], 0.0078125f);
}

TEST(FirstFrameTensor, OvershootsAtEdgesWithoutClamping) {
  const Image edge{1, 4, {0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255}};
  const std::vector<float> wide = FirstFrameTensor(edge, {1, 16}, false);
  EXPECT_GT(*std::max_element(wide.begin(), wide.end()), 1.05f);
  EXPECT_LT(*std::min_element(wide.begin(), wide.end()), -1.05f);
}

TEST(FirstFrameTensor, TakesFloatsAsWellAsBytes) {
  const Image image = Noise(20, 10);
  const std::vector<float> floats(image.rgb.begin(), image.rgb.end());
  for (const bool bf16 : {false, true}) {
    EXPECT_EQ(FirstFrameTensor(floats, {10, 20}, {32, 64}, bf16), FirstFrameTensor(image, {32, 64}, bf16));
  }
}

}  // namespace
}  // namespace ovi
