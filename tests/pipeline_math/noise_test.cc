#include "worker/pipeline/math/noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels/dtype.h"

namespace ovi {
namespace {

using Counter = std::array<std::uint32_t, 4>;

std::vector<float> Noise(std::uint64_t seed, std::uint64_t stream, std::int64_t first, std::size_t count) {
  std::vector<float> out(count);
  FillNoise(seed, stream, first, out, false);
  return out;
}

// Random123's kat_vectors.
TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(FillNoise, StaysTheSameBetweenVersions) {
  const std::vector<float> video = {-1.99669969f, -1.83641553f, 0.207925782f, 0.385070264f, 1.84690475f};
  const std::vector<float> audio = {-0.0288263299f, -0.237179026f, -1.64996529f, -1.21383286f, -0.807433426f};
  EXPECT_EQ(Noise(103, kVideoNoiseStream, 0, 5), video);
  EXPECT_EQ(Noise(103, kAudioNoiseStream, 0, 5), audio);
}

TEST(FillNoise, DoesNotDependOnHowTheElementsAreSplit) {
  const std::vector<float> whole = Noise(7, 0, 0, 64);
  for (std::size_t first = 0; first < 20; ++first) {
    for (std::size_t count = 0; first + count <= 40; ++count) {
      const std::vector<float> part = Noise(7, 0, static_cast<std::int64_t>(first), count);
      const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(first);
      ASSERT_EQ(part, std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count)))
          << first << "+" << count;
    }
  }
  // Past 2^32 elements the counter's second word takes part.
  const std::int64_t far = (std::int64_t{1} << 36) + 3;
  EXPECT_EQ(Noise(7, 0, far + 2, 4)[0], Noise(7, 0, far, 4)[2]);
  EXPECT_NE(Noise(7, 0, far, 4), Noise(7, 0, 3, 4));
}

TEST(FillNoise, DiffersBySeedAndStream) {
  const std::vector<float> base = Noise(103, 0, 0, 64);
  EXPECT_NE(base, Noise(104, 0, 0, 64));
  EXPECT_NE(base, Noise(103 + (std::uint64_t{1} << 40), 0, 0, 64));
  EXPECT_NE(base, Noise(103, 1, 0, 64));
}

struct Moments {
  double mean, variance, skewness, kurtosis;
};

Moments MomentsOf(const std::vector<float>& x) {
  const auto n = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / n;
  double m2 = 0;
  double m3 = 0;
  double m4 = 0;
  for (const float value : x) {
    const double d = value - mean;
    m2 += d * d / n;
    m3 += d * d * d / n;
    m4 += d * d * d * d / n;
  }
  return {mean, m2, m3 / std::pow(m2, 1.5), m4 / (m2 * m2)};
}

void ExpectStandardNormal(const std::vector<float>& x) {
  const Moments moments = MomentsOf(x);
  // Five standard errors of each estimate.
  const double unit = 5 / std::sqrt(static_cast<double>(x.size()));
  EXPECT_NEAR(moments.mean, 0, unit);
  EXPECT_NEAR(moments.variance, 1, unit * std::sqrt(2.0));
  EXPECT_NEAR(moments.skewness, 0, unit * std::sqrt(6.0));
  EXPECT_NEAR(moments.kurtosis, 3, unit * std::sqrt(24.0));
}

TEST(FillNoise, IsStandardNormalAndUncorrelated) {
  constexpr std::size_t kCount = 400'000;
  const std::vector<float> video = Noise(1, kVideoNoiseStream, 0, kCount + 8);
  const std::vector<float> audio = Noise(1, kAudioNoiseStream, 0, kCount);
  ExpectStandardNormal(video);
  const auto correlation = [&](const std::vector<float>& other, std::size_t lag) {
    double sum = 0;
    for (std::size_t i = 0; i < kCount; ++i) sum += double{video[i]} * other[i + lag] / kCount;
    return sum;
  };
  const double limit = 5 / std::sqrt(double{kCount});
  for (std::size_t lag = 1; lag <= 8; ++lag) EXPECT_NEAR(correlation(video, lag), 0, limit) << "lag " << lag;
  EXPECT_NEAR(correlation(audio, 0), 0, limit);
}

TEST(FillNoise, RoundsToBf16WhenAsked) {
  std::vector<float> rounded(1001);
  FillNoise(5, 0, 3, rounded, true);
  std::vector<float> exact = Noise(5, 0, 3, rounded.size());
  EXPECT_NE(rounded, exact);
  for (float& value : exact) value = RoundToBFloat16(value);
  EXPECT_EQ(rounded, exact);
}

// What PyTorch prints for torch.manual_seed(S); torch.randn(16, device="cuda"), to four decimals. A bf16
// keeps 8 bits.
TEST(TorchCudaNoise, GivesPyTorchsNumbers) {
  struct Row {
    std::uint64_t seed;
    std::vector<float> printed;
  };
  const Row rows[] = {{0,
                       {-0.9247f, -0.4253f, -2.6438f, 0.1452f, -0.1209f, -0.5797f, -0.6229f, -0.3284f,
                        -1.0745f, -0.3631f, -1.6711f, 2.2655f, 0.3117f, -0.1842f, 1.2866f, 1.1820f}},
                      {42,
                       {0.1940f, 2.1614f, -0.1721f, 0.8491f, -1.9244f, 0.6530f, -0.6494f, -0.8175f, 0.5280f,
                        -1.2753f, -1.6621f, -0.3033f, -0.0926f, 0.1992f, -1.1204f, 1.8577f}}};
  for (const Row& row : rows) {
    const std::vector<float> noise = *TorchCudaNoise(row.seed, 16, 108, 2048);
    for (std::size_t i = 0; i < row.printed.size(); ++i) {
      EXPECT_NEAR(noise[i], row.printed[i], std::abs(row.printed[i]) / 256 + 1e-4)
          << "seed " << row.seed << " at " << i;
    }
  }
}

TEST(TorchCudaNoise, LaysElementsOutByTheLaunchGrid) {
  constexpr std::int64_t kThreads = 2 * 256;  // one multiprocessor of 600 threads holds 2 blocks of 256
  constexpr std::uint64_t kSeed = 0x123456789abcdef0;
  const std::vector<float> noise = *TorchCudaNoise(kSeed, 5000, 1, 600);
  for (std::int64_t element = 0; element < 5000; ++element) {
    const auto thread = static_cast<std::uint32_t>(element % kThreads);
    const auto draw = static_cast<std::uint32_t>(element / kThreads / 4);
    const auto component = static_cast<std::size_t>(element / kThreads % 4);
    const Counter words = Philox4x32({draw, 0, thread, 0}, {0x9abcdef0, 0x12345678});
    const std::size_t pair = component / 2 * 2;
    const double radius = std::sqrt(-2 * std::log((words[pair] + 0.5) * 0x1p-32));
    const double angle = 2 * std::acos(-1.0) * ((words[pair + 1] + 0.5) * 0x1p-32);
    const double normal = radius * (component % 2 == 0 ? std::sin(angle) : std::cos(angle));
    ASSERT_NEAR(noise[static_cast<std::size_t>(element)], normal, std::abs(normal) / 256 + 1e-5) << element;
  }
}

TEST(TorchCudaNoise, DependsOnTheGpuOnlyWhereTheGridIsFull) {
  const std::vector<float> small_gpu = *TorchCudaNoise(103, 300'000, 82, 1536);
  const std::vector<float> large_gpu = *TorchCudaNoise(103, 300'000, 132, 2048);
  EXPECT_NE(small_gpu, large_gpu);
  EXPECT_EQ(*TorchCudaNoise(103, 3140, 82, 1536), *TorchCudaNoise(103, 3140, 132, 2048));
  ExpectStandardNormal(small_gpu);
}

// Spec trap 2: both tensors are drawn from the same seed.
TEST(TorchCudaNoise, MakesTheAudioNoiseTheHeadOfTheVideoNoise) {
  const std::vector<float> video = *TorchCudaNoise(103, 300'000, 108, 2048);
  const std::vector<float> audio = *TorchCudaNoise(103, 157 * 20, 108, 2048);
  EXPECT_EQ(audio, std::vector<float>(video.begin(), video.begin() + 157 * 20));
}

TEST(TorchCudaNoise, RefusesImpossibleGpus) {
  EXPECT_TRUE(TorchCudaNoise(1, 0, 1, 256)->empty());
  EXPECT_EQ(TorchCudaNoise(1, 10, 0, 2048).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(TorchCudaNoise(1, 10, 1, 255).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(TorchCudaNoise(1, -1, 1, 256).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ovi
