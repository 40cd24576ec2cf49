// The measures of clips, against values worked out by hand.
#include "tests/quality/clip_measures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "worker/pipeline/math/noise.h"

namespace ovi {
namespace {

constexpr double kC1 = 6.5025;   // (0.01 * 255)^2
constexpr double kC2 = 58.5225;  // (0.03 * 255)^2

// Grey frames, whose luma is the pixel's value.
Frames Grey(int count, int height, int width, const std::function<int(int frame, int y, int x)>& value) {
  Frames frames{.count = count, .height = height, .width = width, .rgb = {}};
  for (int frame = 0; frame < count; ++frame) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        frames.rgb.insert(frames.rgb.end(), 3, static_cast<std::uint8_t>(value(frame, y, x)));
      }
    }
  }
  return frames;
}

Frames Even(int value) {
  return Grey(2, 12, 14, [value](int, int, int) { return value; });
}

int Texture(int frame, int y, int x) {
  return 60 + (x * 37 + y * 91 + frame * 13) % 100;
}

TEST(RelativeError, OfLatents) {
  const std::vector<float> a = {3, 0, 4}, b = {3, 1, 4}, zeros(3);
  EXPECT_EQ(RelativeError(a, a), 0);
  EXPECT_EQ(RelativeError(zeros, zeros), 0);
  EXPECT_NEAR(RelativeError(a, b), 0.2, 1e-12);
  EXPECT_EQ(RelativeError(a, zeros), 1);
  EXPECT_EQ(RelativeError(zeros, a), std::numeric_limits<double>::infinity());
}

TEST(Psnr, OfTheSameClipIsInfinite) {
  const Frames clip = Grey(2, 12, 14, Texture);
  EXPECT_EQ(MeanSquaredError(clip, clip), 0);
  EXPECT_EQ(Psnr(0), std::numeric_limits<double>::infinity());
}

TEST(Psnr, OfKnownNoise) {
  const Frames clip = Grey(2, 12, 14, Texture);
  // Each value one off, up or down: 20 log10(255) dB.
  const Frames one =
      Grey(2, 12, 14, [](int f, int y, int x) { return Texture(f, y, x) + ((x + y) % 2 == 0 ? 1 : -1); });
  EXPECT_EQ(MeanSquaredError(clip, one), 1);
  EXPECT_NEAR(Psnr(MeanSquaredError(clip, one)), 48.1308, 1e-4);
  // Half of the values ten off: 48.1308 - 10 log10(50).
  const Frames ten = Grey(2, 12, 14, [](int f, int y, int x) { return Texture(f, y, x) + x % 2 * 10; });
  EXPECT_EQ(MeanSquaredError(clip, ten), 50);
  EXPECT_NEAR(Psnr(MeanSquaredError(clip, ten)), 31.1411, 1e-4);
  // Black against white.
  EXPECT_EQ(Psnr(MeanSquaredError(Even(0), Even(255))), 0);
}

TEST(Ssim, OfTheSameClipIsOne) {
  const Frames clip = Grey(2, 12, 14, Texture);
  EXPECT_NEAR(Ssim(clip, clip), 1, 1e-12);
}

// Without variance only the means count.
TEST(Ssim, OfEvenFramesComparesTheirMeans) {
  EXPECT_NEAR(Ssim(Even(100), Even(120)), (2 * 100.0 * 120 + kC1) / (100.0 * 100 + 120.0 * 120 + kC1), 1e-9);
  EXPECT_NEAR(Ssim(Even(0), Even(255)), kC1 / (255.0 * 255 + kC1), 1e-9);
}

TEST(Ssim, SeesTheLuma) {
  Frames red = Even(0);
  for (std::size_t i = 0; i < red.rgb.size(); i += 3) red.rgb[i] = 200;
  EXPECT_NEAR(Ssim(red, Even(0)), kC1 / (59.8 * 59.8 + kC1), 1e-9);
  Frames green = Even(0);
  for (std::size_t i = 1; i < green.rgb.size(); i += 3) green.rgb[i] = 200;
  EXPECT_NEAR(Ssim(green, Even(0)), kC1 / (117.4 * 117.4 + kC1), 1e-9);
}

// Stripes of one pixel under one window: columns 0, 2, ... of weight `bright`, the others of 1 - bright.
struct Stripes {
  double bright = 0;  // weight of the even columns

  Stripes() {
    double sum = 0;
    for (int i = -5; i <= 5; ++i) {
      const double weight = std::exp(-i * i / 4.5);
      sum += weight;
      if ((i + 5) % 2 == 0) bright += weight;
    }
    bright /= sum;
  }
  static Frames Clip(int even, int odd) {
    return Grey(1, 11, 11, [=](int, int, int x) { return x % 2 == 0 ? even : odd; });
  }
  double Mean(double even, double odd) const { return bright * even + (1 - bright) * odd; }
  double Variance(double even, double odd) const {
    return bright * (1 - bright) * (even - odd) * (even - odd);
  }
};

TEST(Ssim, OfAConstantShiftIsThatOfTheMeans) {
  const Stripes stripes;
  const double a = stripes.Mean(90, 130), b = stripes.Mean(120, 160);
  EXPECT_NEAR(Ssim(Stripes::Clip(90, 130), Stripes::Clip(120, 160)),
              (2 * a * b + kC1) / (a * a + b * b + kC1), 1e-9);
}

TEST(Ssim, OfReversedContrastIsNegative) {
  const Stripes stripes;
  const double a = stripes.Mean(90, 130), b = stripes.Mean(130, 90), variance = stripes.Variance(90, 130);
  EXPECT_NEAR(Ssim(Stripes::Clip(90, 130), Stripes::Clip(130, 90)),
              (2 * a * b + kC1) * (-2 * variance + kC2) / ((a * a + b * b + kC1) * (2 * variance + kC2)),
              1e-9);
}

TEST(Ssim, IsTheMeanOfTheFrames) {
  const Frames a = Even(100);
  const Frames b = Grey(2, 12, 14, [](int frame, int, int) { return frame == 0 ? 100 : 120; });
  EXPECT_NEAR(Ssim(a, b), (1 + Ssim(Even(100), Even(120))) / 2, 1e-9);
}

// Against an even frame, one that is brighter from column 15 on. The window lies at ten places, of which the
// first five see no difference.
TEST(Ssim, IsTheMeanOfThePlacesInside) {
  const Frames even = Grey(1, 11, 20, [](int, int, int) { return 100; });
  const Frames edge = Grey(1, 11, 20, [](int, int, int x) { return x < 15 ? 100 : 120; });
  double expected = 0;
  for (int place = 0; place < 10; ++place) {
    double bright = 0, sum = 0;
    for (int i = -5; i <= 5; ++i) {
      const double weight = std::exp(-i * i / 4.5);
      sum += weight;
      if (place + 5 + i >= 15) bright += weight;
    }
    bright /= sum;
    const double mean = 100 + 20 * bright, variance = bright * (1 - bright) * 400;
    expected += (2 * 100 * mean + kC1) * kC2 / ((100 * 100 + mean * mean + kC1) * (variance + kC2)) / 10;
  }
  EXPECT_NEAR(Ssim(even, edge), expected, 1e-9);
}

std::vector<float> Noise(std::size_t count) {
  std::vector<float> samples(count);
  FillNoise(5, 0, 0, samples, false);
  return samples;
}

std::vector<float> Sine(std::size_t count, double amplitude, double cycles_per_window) {
  std::vector<float> samples;
  for (std::size_t i = 0; i < count; ++i) {
    const double angle = 2 * std::numbers::pi * cycles_per_window * static_cast<double>(i) / 1024;
    samples.push_back(static_cast<float>(amplitude * std::cos(angle)));
  }
  return samples;
}

TEST(LogSpectralDistance, OfTheSameSoundIsZero) {
  EXPECT_EQ(LogSpectralDistance(Noise(5000), Noise(5000)), 0);
  EXPECT_EQ(LogSpectralDistance(std::vector<float>(5000), std::vector<float>(5000)), 0);
}

TEST(LogSpectralDistance, OfHalfTheAmplitudeIsSixDecibels) {
  std::vector<float> loud = Noise(5000);
  for (float& sample : loud) sample *= 100.0F;  // no frequency near the least level
  std::vector<float> quiet = loud;
  for (float& sample : quiet) sample *= 0.5F;
  EXPECT_NEAR(LogSpectralDistance(loud, quiet), 20 * std::log10(2), 1e-9);
}

// A cosine of 64 cycles a window fills three frequencies of a Hann spectrum, at 0, -6.02 and -6.02 dB; the
// others are silent, at -60.
TEST(LogSpectralDistance, OfASineAndSilence) {
  const std::vector<float> silence(4096);
  const double side = 60 - 20 * std::log10(2);
  const double expected = std::sqrt((60.0 * 60 + 2 * side * side) / 513);
  EXPECT_NEAR(LogSpectralDistance(Sine(4096, 1, 64), silence), expected, 1e-3);
  // Below -60 dB nothing is seen.
  EXPECT_EQ(LogSpectralDistance(Sine(4096, 9e-4, 64), silence), 0);
}

TEST(LogSpectralDistance, IsTheMeanOverWindows) {
  // Five windows (0 to 1023, 256 to 1279, ...), of which the last alone sees the last 256 samples.
  const std::vector<float> silence(2048);
  std::vector<float> click(2048);
  click[2047 - 128] = 1.0F;
  std::vector<float> end(1024);
  end[1023 - 128] = 1.0F;
  EXPECT_NEAR(LogSpectralDistance(click, silence), LogSpectralDistance(end, std::vector<float>(1024)) / 5,
              1e-9);
  // A rest that makes no whole window is left out.
  click.resize(2048 + 255, 1.0F);
  EXPECT_NEAR(LogSpectralDistance(click, std::vector<float>(2048 + 255)),
              LogSpectralDistance(end, std::vector<float>(1024)) / 5, 1e-9);
}

TEST(LogSpectralDistance, OfASoundShorterThanAWindow) {
  std::vector<float> longer = Noise(300);
  longer.resize(1024);
  EXPECT_NEAR(LogSpectralDistance(Noise(300), std::vector<float>(300)),
              LogSpectralDistance(longer, std::vector<float>(1024)), 1e-12);
}

}  // namespace
}  // namespace ovi
