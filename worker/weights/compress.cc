#include "worker/weights/compress.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "worker/weights/convert.h"
#include "worker/weights/low_rank.h"
#include "worker/weights/truncated_svd.h"

namespace ovi {
namespace {

// A residual's values. The scale's sign is chosen so that a group's largest value falls on the side of -8:
// one step more there makes every step finer.
constexpr float kLeast = -8.0F, kMost = 7.0F;
constexpr std::int64_t kRowGrain = 16;
// Of the scale that just reaches a group's largest value. Less of it cuts that value off, and makes the steps
// of all the others finer; more reaches what lies on the other side.
constexpr std::array<float, 9> kShares = {8.0F / 7.0F, 1.07F, 1.0F, 0.96F, 0.92F, 0.88F, 0.84F, 0.8F, 0.75F};
// Times the pair is found again for what the residual cannot hold, each a third of the first search. The
// worst velocity of the golden set is at 0.145 after one whole search, 0.117 after three such passes, 0.114
// after four and 0.112 after six.
constexpr int kRefinements = 4;
// Half precision's largest. No weight is near it, and squares of it are far from the end of f32.
constexpr float kMagnitudeMax = 65504.0F;

// Half to even: adding 1.5 * 2^23 leaves the rounded integer in the low bits. `scale` is not 0.
inline float Round(float x, float scale) {
  constexpr float kRound = 12582912.0F;
  const float ratio = x / scale;
  const float low = ratio < kLeast ? kLeast : ratio;
  const float clamped = low > kMost ? kMost : low;
  return (clamped + kRound) - kRound;
}

// The scale, as bf16 holds it, that leaves the least squared error in a group whose value farthest from 0 is
// `extreme`; 0 for a group of zeros, whatever is so small that its scale vanishes among them.
inline float ChooseScale(const float* x, std::int64_t count, float extreme) {
  float best = 0.0F, best_error = 0.0F;
  for (std::int64_t i = 0; i < count; ++i) best_error += x[i] * x[i];
  for (const float share : kShares) {
    const float scale = RoundToBFloat16(share * (extreme / kLeast));
    if (scale == 0.0F) continue;
    float error = 0.0F;
    for (std::int64_t i = 0; i < count; ++i) {
      const float rest = x[i] - scale * Round(x[i], scale);
      error += rest * rest;
    }
    if (error < best_error) {
      best = scale;
      best_error = error;
    }
  }
  return best;
}

inline void QuantiseRow(const float* x, std::int64_t columns, std::uint8_t* bytes, BFloat16* scales) {
  for (std::int64_t first = 0; first < columns; first += kFourBitGroup) {
    const std::int64_t count = std::min(kFourBitGroup, columns - first);
    float highest = 0.0F, lowest = 0.0F;
    for (std::int64_t i = 0; i < count; ++i) {
      highest = std::max(highest, x[first + i]);
      lowest = std::min(lowest, x[first + i]);
    }
    const float scale = ChooseScale(x + first, count, highest > -lowest ? highest : lowest);
    scales[first / kFourBitGroup] = ToBFloat16(scale);
    std::uint8_t q[kFourBitGroup] = {};
    if (scale != 0.0F) {
      for (std::int64_t i = 0; i < count; ++i) {
        q[i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(Round(x[first + i], scale))) & 0xfU;
      }
    }
    for (std::int64_t i = 0; i < count; i += 2) {
      bytes[(first + i) / 2] = static_cast<std::uint8_t>(q[i] | q[i + 1] << 4);
    }
  }
}

// What the pair, as it is rounded, leaves of w.
void SetResidual(std::span<const float> w, LowRankSplit& split) {
  std::vector<float> rest(w.begin(), w.end());
  const CompressedMatrix pair = split.view();
  AddLowRank(ToFloats(pair.rows.up), ToFloats(pair.down), -1.0F, split.rows, split.columns, split.rank, rest);
  const std::int64_t row_bytes = FourBitRowBytes(split.columns), groups = FourBitGroups(split.columns);
  split.residual.resize(static_cast<std::size_t>(split.rows * row_bytes));
  split.scales.resize(static_cast<std::size_t>(split.rows * groups));
  cpu::ParallelFor(split.rows, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    cpu::RunVectorised([&] {
      for (std::int64_t row = begin; row < end; ++row) {
        QuantiseRow(rest.data() + row * split.columns, split.columns, split.residual.data() + row * row_bytes,
                    split.scales.data() + row * groups);
      }
    });
  });
}

std::vector<float> WithoutResidual(std::span<const float> w, const LowRankSplit& split) {
  std::vector<float> rest = ExpandResidual(split.view());
  for (std::size_t i = 0; i < w.size(); ++i) rest[i] = w[i] - rest[i];
  return rest;
}

// The pair, each factor with the root of a value, so that both have the same range.
void SetPair(const TruncatedSvd& svd, LowRankSplit& split) {
  const std::int64_t rank = split.rank;
  split.up.resize(svd.left.size());
  split.down.resize(svd.right.size());
  for (std::int64_t k = 0; k < rank; ++k) {
    const float root = std::sqrt(svd.values[static_cast<std::size_t>(k)]);
    for (std::int64_t i = 0; i < split.rows; ++i) {
      const auto at = static_cast<std::size_t>(i * rank + k);
      split.up[at] = ToBFloat16(svd.left[at] * root);
    }
    for (std::int64_t j = 0; j < split.columns; ++j) {
      const auto at = static_cast<std::size_t>(k * split.columns + j);
      split.down[at] = ToBFloat16(svd.right[at] * root);
    }
  }
}

}  // namespace

CompressedMatrix LowRankSplit::view() const {
  return {.rows = {.q = {residual.data(), DType::kU8, {rows, FourBitRowBytes(columns)}},
                   .scale = {scales.data(), DType::kBF16, {rows, FourBitGroups(columns)}},
                   .up = {up.data(), DType::kBF16, {rows, rank}}},
          .down = {down.data(), DType::kBF16, {rank, columns}}};
}

absl::StatusOr<LowRankSplit> SplitLowRank(std::span<const float> w, std::int64_t rows, std::int64_t columns,
                                          std::int64_t rank, std::uint64_t seed) {
  OVI_CHECK(rows >= 0 && columns >= 0 && rank >= 0);
  OVI_CHECK(static_cast<std::int64_t>(w.size()) == rows * columns);
  // Written so that NaN is odd as well.
  const auto odd =
      std::find_if_not(w.begin(), w.end(), [](float value) { return std::abs(value) <= kMagnitudeMax; });
  if (odd != w.end()) {
    return absl::InvalidArgumentError(absl::StrCat("compress: element ", odd - w.begin(), " is ", *odd,
                                                   ", must be finite and at most ", kMagnitudeMax));
  }
  LowRankSplit split{.rows = rows, .columns = columns, .rank = std::min({rank, rows, columns})};
  absl::StatusOr<TruncatedSvd> svd = FindTruncatedSvd(w, rows, columns, split.rank, seed);
  for (int refined = 0; svd.ok(); ++refined) {
    SetPair(*svd, split);
    SetResidual(w, split);
    if (refined == kRefinements || split.rank == 0) return split;
    svd = FindTruncatedSvdNear(WithoutResidual(w, split), rows, columns, *svd);
  }
  return svd.status();
}

std::vector<float> Expand(const LowRankSplit& split) {
  return Expand(split.view());
}

}  // namespace ovi
