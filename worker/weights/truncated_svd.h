// The largest singular values of a matrix and their vectors, by randomised subspace iteration (Halko,
// Martinsson and Tropp, SIAM Review 53(2), 2011, algorithms 4.4 and 5.1): a sketch with rank + 8 Gaussian
// columns, two power iterations, each half of one orthonormalised, and the exact decomposition of what is
// left. All passes over the matrix are products with thin ones.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

// w ~= left * diag(values) * right.
struct TruncatedSvd {
  std::int64_t rank = 0;
  std::vector<float> left;    // (rows, rank), orthonormal columns
  std::vector<float> values;  // (rank), descending
  std::vector<float> right;   // (rank, columns), orthonormal rows
};

// w (rows, columns) row-major and finite; 0 <= rank <= min(rows, columns). On the CPU backend's threads; the
// result does not depend on their count. LAPACK's own threads must be one for that: see
// docs/dependencies.md. With w, takes three times its memory. INVALID_ARGUMENT for values so large
// that their products leave f32.
absl::StatusOr<TruncatedSvd> FindTruncatedSvd(std::span<const float> w, std::int64_t rows,
                                              std::int64_t columns, std::int64_t rank, std::uint64_t seed);

// Of a matrix near the one that `near` is of, in a third of the time: one pass that starts from its right
// vectors. w (rows, columns) as above, near.rank the rank.
absl::StatusOr<TruncatedSvd> FindTruncatedSvdNear(std::span<const float> w, std::int64_t rows,
                                                  std::int64_t columns, const TruncatedSvd& near);

}  // namespace ovi
