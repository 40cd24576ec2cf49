#include "tests/quality/clip_measures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <cstddef>
#include <numbers>
#include <utility>
#include <vector>

#include "base/check.h"

namespace ovi {
namespace {

constexpr int kReach = 5;  // of the window, to each side
constexpr int kWindow = 2 * kReach + 1;
constexpr double kSigma = 1.5;
constexpr double kC1 = (0.01 * 255) * (0.01 * 255);
constexpr double kC2 = (0.03 * 255) * (0.03 * 255);

constexpr std::size_t kSpectrum = 1024;
constexpr std::size_t kHop = 256;
constexpr double kLevelMin = -60;  // dB

void CheckAlike(const Frames& a, const Frames& b) {
  OVI_CHECK(a.count == b.count && a.height == b.height && a.width == b.width);
  OVI_CHECK(a.rgb.size() == b.rgb.size() && !a.rgb.empty());
}

// One number a pixel.
struct Plane {
  int height = 0;
  int width = 0;
  std::vector<double> values;

  double& at(int y, int x) { return values[static_cast<std::size_t>(y) * width + x]; }
  double at(int y, int x) const { return values[static_cast<std::size_t>(y) * width + x]; }
};

Plane MakePlane(int height, int width) {
  return {height, width, std::vector<double>(static_cast<std::size_t>(height) * width)};
}

Plane Luma(const Frames& frames, int frame) {
  Plane luma = MakePlane(frames.height, frames.width);
  const std::uint8_t* rgb = frames.rgb.data() + luma.values.size() * 3 * frame;
  for (std::size_t i = 0; i < luma.values.size(); ++i) {
    luma.values[i] = 0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2];
  }
  return luma;
}

Plane Product(const Plane& a, const Plane& b) {
  Plane product = a;
  for (std::size_t i = 0; i < product.values.size(); ++i) product.values[i] *= b.values[i];
  return product;
}

std::array<double, kWindow> GaussianWindow() {
  std::array<double, kWindow> window;
  double sum = 0;
  for (int i = 0; i < kWindow; ++i) {
    const double distance = i - kReach;
    sum += window[i] = std::exp(-distance * distance / (2 * kSigma * kSigma));
  }
  for (double& weight : window) weight /= sum;
  return window;
}

// The means under the window, at the places where it lies inside. The window is a product of two rows of
// weights, so rows are averaged first and columns then.
Plane WindowMeans(const Plane& plane) {
  static const std::array<double, kWindow> window = GaussianWindow();
  Plane across = MakePlane(plane.height, plane.width - kWindow + 1);
  for (int y = 0; y < across.height; ++y) {
    for (int x = 0; x < across.width; ++x) {
      for (int i = 0; i < kWindow; ++i) across.at(y, x) += window[i] * plane.at(y, x + i);
    }
  }
  Plane means = MakePlane(plane.height - kWindow + 1, across.width);
  for (int y = 0; y < means.height; ++y) {
    for (int i = 0; i < kWindow; ++i) {
      for (int x = 0; x < means.width; ++x) means.at(y, x) += window[i] * across.at(y + i, x);
    }
  }
  return means;
}

double FrameSsim(const Plane& a, const Plane& b) {
  const Plane mean_a = WindowMeans(a), mean_b = WindowMeans(b);
  const Plane square_a = WindowMeans(Product(a, a)), square_b = WindowMeans(Product(b, b));
  const Plane product = WindowMeans(Product(a, b));
  double sum = 0;
  for (std::size_t i = 0; i < mean_a.values.size(); ++i) {
    const double ma = mean_a.values[i], mb = mean_b.values[i];
    const double variance_a = square_a.values[i] - ma * ma, variance_b = square_b.values[i] - mb * mb;
    const double covariance = product.values[i] - ma * mb;
    sum += (2 * ma * mb + kC1) * (2 * covariance + kC2) /
           ((ma * ma + mb * mb + kC1) * (variance_a + variance_b + kC2));
  }
  return sum / static_cast<double>(mean_a.values.size());
}

// Radix 2, in place; the size a power of two.
void FourierTransform(std::vector<std::complex<double>>& x) {
  for (std::size_t i = 1, reversed = 0; i < x.size(); ++i) {
    std::size_t bit = x.size() / 2;
    for (; (reversed & bit) != 0; bit /= 2) reversed ^= bit;
    reversed ^= bit;
    if (i < reversed) std::swap(x[i], x[reversed]);
  }
  for (std::size_t size = 2; size <= x.size(); size *= 2) {
    for (std::size_t k = 0; k < size / 2; ++k) {
      const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(size);
      const std::complex<double> turn = std::polar(1.0, angle);
      for (std::size_t first = 0; first < x.size(); first += size) {
        const std::complex<double> low = x[first + k], high = turn * x[first + k + size / 2];
        x[first + k] = low + high;
        x[first + k + size / 2] = low - high;
      }
    }
  }
}

// Levels in dB of the frequencies from 0 to the half of the sample rate.
std::vector<double> Levels(std::span<const float> samples) {
  std::vector<std::complex<double>> spectrum(kSpectrum);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(i) / kSpectrum);
    spectrum[i] = window * static_cast<double>(samples[i]);
  }
  FourierTransform(spectrum);
  constexpr double kFullScale = kSpectrum / 4.0;  // half the sum of the window
  std::vector<double> levels;
  for (std::size_t k = 0; k <= kSpectrum / 2; ++k) {
    levels.push_back(std::max(kLevelMin, 20 * std::log10(std::abs(spectrum[k]) / kFullScale)));
  }
  return levels;
}

}  // namespace

double RelativeError(std::span<const float> a, std::span<const float> b) {
  OVI_CHECK(a.size() == b.size());
  double error = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    error += difference * difference;
    size += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return error > 0 ? std::sqrt(error / size) : 0;
}

double MeanSquaredError(const Frames& a, const Frames& b) {
  CheckAlike(a, b);
  double sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) {
    const double difference = static_cast<double>(a.rgb[i]) - static_cast<double>(b.rgb[i]);
    sum += difference * difference;
  }
  return sum / static_cast<double>(a.rgb.size());
}

double Psnr(double mean_squared_error) {
  return 10 * std::log10(255.0 * 255.0 / mean_squared_error);
}

double Ssim(const Frames& a, const Frames& b) {
  CheckAlike(a, b);
  OVI_CHECK(a.height >= kWindow && a.width >= kWindow);
  double sum = 0;
  for (int frame = 0; frame < a.count; ++frame) sum += FrameSsim(Luma(a, frame), Luma(b, frame));
  return sum / a.count;
}

double LogSpectralDistance(std::span<const float> a, std::span<const float> b) {
  OVI_CHECK(a.size() == b.size() && !a.empty());
  double sum = 0;
  int windows = 0;
  for (std::size_t first = 0; first == 0 || first + kSpectrum <= a.size(); first += kHop, ++windows) {
    const std::size_t count = std::min(kSpectrum, a.size() - first);
    const std::vector<double> level_a = Levels(a.subspan(first, count));
    const std::vector<double> level_b = Levels(b.subspan(first, count));
    double squares = 0;
    for (std::size_t k = 0; k < level_a.size(); ++k) {
      squares += (level_a[k] - level_b[k]) * (level_a[k] - level_b[k]);
    }
    sum += std::sqrt(squares / static_cast<double>(level_a.size()));
  }
  return sum / windows;
}

}  // namespace ovi
