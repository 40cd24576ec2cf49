#include "worker/pipeline/math/noise.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/dtype.h"

namespace ovi {
namespace {

constexpr int kWords = 4;

std::uint32_t Low(std::uint64_t x) {
  return static_cast<std::uint32_t>(x);
}
std::uint32_t High(std::uint64_t x) {
  return static_cast<std::uint32_t>(x >> 32);
}

std::array<std::uint32_t, 4> Words(std::uint64_t seed, std::uint64_t counter_low,
                                   std::uint64_t counter_high) {
  return Philox4x32({Low(counter_low), High(counter_low), Low(counter_high), High(counter_high)},
                    {Low(seed), High(seed)});
}

// Box-Muller on the middle of each of 2^32 intervals: u is never 0, so the logarithm is finite (|x| <= 6.77).
std::array<double, 2> NormalPair(std::uint32_t x, std::uint32_t y) {
  const double u = (x + 0.5) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * ((y + 0.5) * 0x1p-32);
  const double radius = std::sqrt(-2 * std::log(u));
  return {radius * std::sin(angle), radius * std::cos(angle)};
}

// cuRAND's Box-Muller, in its float arithmetic.
std::array<float, 2> CurandNormalPair(std::uint32_t x, std::uint32_t y) {
  constexpr float kInverse = 0x1p-32f;
  constexpr float kAngleInverse = static_cast<float>(2 * std::numbers::pi * 0x1p-32);
  const float u = static_cast<float>(x) * kInverse + kInverse / 2;
  const float angle = static_cast<float>(y) * kAngleInverse + kAngleInverse / 2;
  const float radius = std::sqrt(-2.0f * std::log(u));
  return {radius * std::sin(angle), radius * std::cos(angle)};
}

}  // namespace

std::array<std::uint32_t, 4> Philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xd2511f53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xcd9e8d57} * counter[2];
    counter = {High(product1) ^ counter[1] ^ key[0], Low(product1), High(product0) ^ counter[3] ^ key[1],
               Low(product0)};
    key[0] += 0x9e3779b9;
    key[1] += 0xbb67ae85;
  }
  return counter;
}

void FillNoise(std::uint64_t seed, std::uint64_t stream, std::int64_t first_element, std::span<float> out,
               bool round_bf16) {
  OVI_CHECK(first_element >= 0);
  for (std::size_t i = 0; i < out.size();) {
    const std::uint64_t element = static_cast<std::uint64_t>(first_element) + i;
    const std::array<std::uint32_t, 4> words = Words(seed, element / kWords, stream);
    const std::array<double, 2> low = NormalPair(words[0], words[1]);
    const std::array<double, 2> high = NormalPair(words[2], words[3]);
    const double normals[kWords] = {low[0], low[1], high[0], high[1]};
    for (std::size_t c = element % kWords; c < kWords && i < out.size(); ++c, ++i) {
      const float value = static_cast<float>(normals[c]);
      out[i] = round_bf16 ? RoundToBFloat16(value) : value;
    }
  }
}

absl::StatusOr<std::vector<float>> TorchCudaNoise(std::uint64_t seed, std::int64_t numel, int sm_count,
                                                  int max_threads_per_sm) {
  constexpr std::int64_t kBlockThreads = 256;
  if (numel < 0 || sm_count < 1 || max_threads_per_sm < kBlockThreads) {
    return absl::InvalidArgumentError(absl::StrCat("noise: numel=", numel, " sm_count=", sm_count,
                                                   " max_threads_per_sm=", max_threads_per_sm,
                                                   ", must be at least 0, 1 and ", kBlockThreads));
  }
  std::vector<float> out(static_cast<std::size_t>(numel));
  const std::int64_t blocks_resident = std::int64_t{sm_count} * (max_threads_per_sm / kBlockThreads);
  const std::int64_t blocks_needed = (numel + kBlockThreads - 1) / kBlockThreads;
  const std::int64_t threads = kBlockThreads * std::min(blocks_resident, blocks_needed);
  for (std::int64_t draw = 0; draw * kWords * threads < numel; ++draw) {
    const std::int64_t first = draw * kWords * threads;
    for (std::int64_t thread = 0; thread < threads && first + thread < numel; ++thread) {
      const std::array<std::uint32_t, 4> words =
          Words(seed, static_cast<std::uint64_t>(draw), static_cast<std::uint64_t>(thread));
      const std::array<float, 2> low = CurandNormalPair(words[0], words[1]);
      const std::array<float, 2> high = CurandNormalPair(words[2], words[3]);
      const float normals[kWords] = {low[0], low[1], high[0], high[1]};
      for (int c = 0; c < kWords; ++c) {
        const std::int64_t element = first + thread + c * threads;
        if (element < numel) out[static_cast<std::size_t>(element)] = RoundToBFloat16(normals[c]);
      }
    }
  }
  return out;
}

}  // namespace ovi
