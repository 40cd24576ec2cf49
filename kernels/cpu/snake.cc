#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd.h"

namespace ovi::cpu {
namespace {

constexpr std::int64_t kTaps = 12;
constexpr std::int64_t kTile = 32;  // output positions a pass; the doubled-rate buffer stays small

// sin(x)^2. Period pi: x is reduced to |r| <= pi/2 in three parts (Cody and Waite), then a polynomial of sin.
inline float SinSquared(float x) {
  constexpr float kRound = 12582912.0f;  // adding and taking it away rounds to an integer
  const float n = (x * 0.318309886183790672f + kRound) - kRound;
  float r = x - n * 3.140625f;
  r -= n * 9.6750259399414062e-4f;
  r -= n * 1.5099579909783765e-7f;
  const float r2 = r * r;
  float p = 1.6059043837e-10f;
  p = p * r2 - 2.5052108385e-8f;
  p = p * r2 + 2.7557319224e-6f;
  p = p * r2 - 1.9841269841e-4f;
  p = p * r2 + 8.3333333333e-3f;
  p = p * r2 - 1.6666666667e-1f;
  const float sine = r + r * r2 * p;
  return sine * sine;
}

// Row `m` of the activated signal at double rate.
void ActivatedRow(const AntiAliasedSnake& op, std::int64_t m, float* input, float* out) {
  const std::int64_t length = op.x.shape[0];
  const std::int64_t channels = op.x.shape[1];
  const float* filter = Floats(op.filter_up);
  const float* alpha = Floats(op.alpha);
  const float* inv_beta = Floats(op.inv_beta);
  std::fill_n(out, channels, 0.0f);
  // Tap j of the transposed filter meets padded row i where m + 15 - 2i = j.
  for (std::int64_t i = (m + 15 - (kTaps - 1) + 1) / 2; 2 * i <= m + 15; ++i) {
    const float tap = 2.0f * filter[m + 15 - 2 * i];
    LoadRow(RowAt(op.x, std::clamp<std::int64_t>(i - 5, 0, length - 1), channels), op.x.dtype, channels,
            input);
    for (std::int64_t c = 0; c < channels; ++c) out[c] += tap * input[c];
  }
  for (std::int64_t c = 0; c < channels; ++c) out[c] += SinSquared(out[c] * alpha[c]) * inv_beta[c];
}

// Output rows [begin, end).
void SnakeRows(const AntiAliasedSnake& op, std::int64_t begin, std::int64_t end, float* scratch) {
  const std::int64_t channels = op.x.shape[1];
  const std::int64_t last = 2 * op.x.shape[0] - 1;
  const std::int64_t first = std::max<std::int64_t>(2 * begin - 5, 0);
  const std::int64_t stop = std::min<std::int64_t>(2 * (end - 1) + 6, last) + 1;
  float* input = scratch;
  float* sum = input + channels;
  float* activated = sum + channels;
  for (std::int64_t m = first; m < stop; ++m) ActivatedRow(op, m, input, activated + (m - first) * channels);
  const float* filter = Floats(op.filter_down);
  for (std::int64_t n = begin; n < end; ++n) {
    std::fill_n(sum, channels, 0.0f);
    for (std::int64_t j = 0; j < kTaps; ++j) {
      const float* row = activated + (std::clamp<std::int64_t>(2 * n + j - 5, 0, last) - first) * channels;
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += filter[j] * row[c];
    }
    StoreRow(sum, op.out.dtype, channels, RowAt(op.out, n, channels));
  }
}

}  // namespace

void RunAntiAliasedSnake(const AntiAliasedSnake& op) {
  const std::int64_t length = op.x.shape[0];
  const std::int64_t channels = op.x.shape[1];
  if (length == 0 || channels == 0) return;
  ParallelFor((length + kTile - 1) / kTile, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scratch(static_cast<std::size_t>((2 * kTile + kTaps + 2) * channels));
    float* buffer = scratch.data();
    RunVectorised([&] {
      for (std::int64_t tile = begin; tile < end; ++tile) {
        SnakeRows(op, tile * kTile, std::min(length, (tile + 1) * kTile), buffer);
      }
    });
  });
}

}  // namespace ovi::cpu
