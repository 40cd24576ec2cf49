#include "worker/weights/truncated_svd.h"

#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/cpu/parallel.h"
#include "worker/pipeline/math/noise.h"
#include "worker/weights/low_rank.h"

namespace ovi {
namespace {

constexpr std::int64_t kExtraColumns = 8;
constexpr int kPowerIterations = 2;
constexpr std::uint64_t kSketchStream = 2;  // beside those of a clip's noise
// Of the inner dimension, as much at a time as keeps the thin factor's part in the nearest caches.
constexpr std::int64_t kSliceColumns = 256;

std::size_t Count(std::int64_t rows, std::int64_t columns) {
  return static_cast<std::size_t>(rows * columns);
}

// A matrix cut into slices of columns, each contiguous, as AddLowRank takes them.
class SlicedMatrix {
 public:
  // Element (row, column) is w[row * row_stride + column * column_stride].
  SlicedMatrix(std::span<const float> w, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
               std::int64_t column_stride)
      : rows_(rows), columns_(columns), values_(w.size()) {
    cpu::ParallelForEach((columns + kSliceColumns - 1) / kSliceColumns, [&](std::int64_t slice) {
      const std::int64_t first = slice * kSliceColumns;
      const std::int64_t width = std::min(kSliceColumns, columns - first);
      float* out = values_.data() + first * rows;
      // The transposed reads stay within a few lines that way.
      constexpr std::int64_t kRows = 16;
      for (std::int64_t top = 0; top < rows; top += kRows) {
        for (std::int64_t j = 0; j < width; ++j) {
          for (std::int64_t i = top; i < std::min(top + kRows, rows); ++i) {
            out[i * width + j] = w[static_cast<std::size_t>(i * row_stride + (first + j) * column_stride)];
          }
        }
      }
    });
  }

  // This matrix times `thin` (columns, width).
  std::vector<float> Times(std::span<const float> thin, std::int64_t width) const {
    std::vector<float> product(Count(rows_, width));
    for (std::int64_t first = 0; first < columns_; first += kSliceColumns) {
      const std::int64_t inner = std::min(kSliceColumns, columns_ - first);
      AddLowRank(std::span(values_).subspan(Count(first, rows_), Count(inner, rows_)),
                 thin.subspan(Count(first, width), Count(inner, width)), 1.0F, rows_, width, inner, product);
    }
    return product;
  }

 private:
  std::int64_t rows_, columns_;
  std::vector<float> values_;
};

// LAPACKE answers below 0 for arguments with NaN, which sums that left f32 have become.
absl::Status Outcome(const char* routine, lapack_int info) {
  if (info == 0) return absl::OkStatus();
  if (info < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("svd: the products are too large for f32 (", routine, ")"));
  }
  return absl::InternalError(absl::StrCat("svd: ", routine, " did not converge, info=", info));
}

// Replaces the columns of `thin` (rows, width), width <= rows, by an orthonormal basis of their span.
absl::Status Orthonormalise(std::vector<float>& thin, std::int64_t rows, std::int64_t width) {
  const auto m = static_cast<lapack_int>(rows), n = static_cast<lapack_int>(width);
  std::vector<float> reflectors(static_cast<std::size_t>(width));
  const lapack_int info = LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, m, n, thin.data(), n, reflectors.data());
  if (info != 0) return Outcome("sgeqrf", info);
  return Outcome("sorgqr", LAPACKE_sorgqr(LAPACK_ROW_MAJOR, m, n, n, thin.data(), n, reflectors.data()));
}

// An orthonormal basis (rows, width) of nearly the space that w's largest `width` singular values act on.
absl::StatusOr<std::vector<float>> FindRange(const SlicedMatrix& w, const SlicedMatrix& transposed,
                                             std::int64_t rows, std::int64_t columns, std::int64_t width,
                                             std::uint64_t seed) {
  std::vector<float> sketch(Count(columns, width));
  FillNoise(seed, kSketchStream, 0, sketch, false);
  std::vector<float> range = w.Times(sketch, width);
  absl::Status status = Orthonormalise(range, rows, width);
  for (int i = 0; i < kPowerIterations && status.ok(); ++i) {
    std::vector<float> back = transposed.Times(range, width);
    status = Orthonormalise(back, columns, width);
    if (!status.ok()) break;
    range = w.Times(back, width);
    status = Orthonormalise(range, rows, width);
  }
  if (!status.ok()) return status;
  return range;
}

// The decomposition of w within `range` (rows, width), orthonormal columns: w ~= range * (w^T range)^T.
absl::StatusOr<TruncatedSvd> DecomposeWithin(std::span<const float> range, const SlicedMatrix& transposed,
                                             std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  const std::int64_t width = static_cast<std::int64_t>(range.size()) / rows;
  std::vector<float> small = transposed.Times(range, width);
  // `small` = basis * diag(values) * rotation.
  const auto m = static_cast<lapack_int>(columns), n = static_cast<lapack_int>(width);
  std::vector<float> values(static_cast<std::size_t>(width));
  std::vector<float> basis(Count(columns, width)), rotation(Count(width, width));
  const lapack_int info = LAPACKE_sgesdd(LAPACK_ROW_MAJOR, 'S', m, n, small.data(), n, values.data(),
                                         basis.data(), n, rotation.data(), n);
  if (info != 0) return Outcome("sgesdd", info);

  TruncatedSvd svd{.rank = rank};
  svd.values.assign(values.begin(), values.begin() + rank);
  svd.right.resize(Count(rank, columns));
  std::vector<float> turn(Count(width, rank));  // the first rows of `rotation`, as columns
  for (std::int64_t k = 0; k < rank; ++k) {
    for (std::int64_t j = 0; j < columns; ++j) svd.right[Count(k, columns) + j] = basis[Count(j, width) + k];
    for (std::int64_t i = 0; i < width; ++i) turn[Count(i, rank) + k] = rotation[Count(k, width) + i];
  }
  svd.left.resize(Count(rows, rank));
  AddLowRank(range, turn, 1.0F, rows, rank, width, svd.left);
  return svd;
}

}  // namespace

absl::StatusOr<TruncatedSvd> FindTruncatedSvd(std::span<const float> w, std::int64_t rows,
                                              std::int64_t columns, std::int64_t rank, std::uint64_t seed) {
  OVI_CHECK(w.size() == Count(rows, columns));
  OVI_CHECK(rank >= 0 && rank <= std::min(rows, columns));
  OVI_CHECK(std::max(rows, columns) <= std::numeric_limits<lapack_int>::max());
  if (rank == 0) return TruncatedSvd();

  const SlicedMatrix straight(w, rows, columns, columns, 1);
  const SlicedMatrix transposed(w, columns, rows, 1, columns);
  const std::int64_t width = std::min({rank + kExtraColumns, rows, columns});
  const absl::StatusOr<std::vector<float>> range =
      FindRange(straight, transposed, rows, columns, width, seed);
  if (!range.ok()) return range.status();
  return DecomposeWithin(*range, transposed, rows, columns, rank);
}

absl::StatusOr<TruncatedSvd> FindTruncatedSvdNear(std::span<const float> w, std::int64_t rows,
                                                  std::int64_t columns, const TruncatedSvd& near) {
  OVI_CHECK(w.size() == Count(rows, columns));
  OVI_CHECK(near.right.size() == Count(near.rank, columns) && near.rank <= rows);
  if (near.rank == 0) return TruncatedSvd();

  std::vector<float> start(Count(columns, near.rank));
  for (std::int64_t k = 0; k < near.rank; ++k) {
    for (std::int64_t j = 0; j < columns; ++j)
      start[Count(j, near.rank) + k] = near.right[Count(k, columns) + j];
  }
  std::vector<float> range = SlicedMatrix(w, rows, columns, columns, 1).Times(start, near.rank);
  if (absl::Status status = Orthonormalise(range, rows, near.rank); !status.ok()) return status;
  return DecomposeWithin(range, SlicedMatrix(w, columns, rows, 1, columns), rows, columns, near.rank);
}

}  // namespace ovi
