// A weight matrix as a low-rank product in bf16 and a residual of 4 bits a value:
//
//   w ~= up @ down + scale * q         q in -8..7, one scale, of either sign, for 64 values of a row
//
// The product takes what is large and common to many rows, so that what the few steps of q have to span is
// smaller. Relative error |w - expanded| / |w| in L2, and bytes a value:
//
//   matrices                              rank 0          32              64              128
//   Gaussian 3072x3072                    0.090, 0.531 B  0.085, 0.573 B  0.081, 0.615 B  0.075, 0.698 B
//   Gaussian 14336x3072                   0.090, 0.531 B  0.087, 0.557 B  0.085, 0.582 B  0.080, 0.632 B
//
//   mini-ovi's 144 matrices of blocks     rank 0          2               4               8
//   (128x128 to 512x128), mean            0.096, 0.531 B  0.087, 0.583 B  0.080, 0.635 B  0.070, 0.740 B
//   worst of them                         0.116           0.098           0.092           0.084
//
// The first ranks take what costs a network most: with a coarser q, mini-ovi's latents were at 0.258 of error
// without a pair and at 0.165 with rank 2. Rank 128 suits matrices of 3072 and more: the share of the whole
// that rank 5 is of mini-ovi's 128, which keeps its latents at 0.106. The original's own weights have not
// been measured.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "worker/weights/compressed_matrix.h"

namespace ovi {

struct LowRankSplit {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t rank = 0;
  std::vector<BFloat16> up;            // (rows, rank)
  std::vector<BFloat16> down;          // (rank, columns)
  std::vector<std::uint8_t> residual;  // (rows, FourBitRowBytes(columns)), q in -8..7
  std::vector<BFloat16> scales;        // (rows, FourBitGroups(columns))

  // Of this split's memory.
  CompressedMatrix view() const;
};

// w (rows, columns) row-major; of `rank` no more than min(rows, columns) is used, and 0 leaves the residual
// alone. The same w and seed give the same bytes, on any number of threads. The pair is found again for w
// less the residual, four times, and each group's scale is the best of nine. 3072x3072 at rank 128 takes 1.7
// s of two cores and, with w, four times its memory. INVALID_ARGUMENT for values that are not finite or above
// 65,504.
absl::StatusOr<LowRankSplit> SplitLowRank(std::span<const float> w, std::int64_t rows, std::int64_t columns,
                                          std::int64_t rank, std::uint64_t seed);

// (rows, columns) in f32, as the engine's arithmetic means it.
std::vector<float> Expand(const LowRankSplit& split);

}  // namespace ovi
