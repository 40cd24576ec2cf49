#include "worker/weights/compressed_matrix.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/parallel.h"
#include "worker/weights/convert.h"
#include "worker/weights/low_rank.h"

namespace ovi {

std::int64_t RankOf(std::int64_t rank, std::int64_t n, std::int64_t k) {
  const std::int64_t side = std::min({n, k, kRankedSide});
  return std::max<std::int64_t>((rank * side + kRankedSide / 2) / kRankedSide, 1);
}

std::vector<float> ExpandResidual(const CompressedMatrix& matrix) {
  constexpr std::int64_t kRowGrain = 16;
  const std::int64_t columns = matrix.k();
  const std::int64_t row_bytes = FourBitRowBytes(columns), groups = FourBitGroups(columns);
  const std::vector<float> scales = ToFloats(matrix.rows.scale);
  std::vector<float> w(static_cast<std::size_t>(matrix.n() * columns));
  cpu::ParallelFor(matrix.n(), kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const auto* q = static_cast<const std::uint8_t*>(matrix.rows.q.data) + row * row_bytes;
      const float* scale = scales.data() + row * groups;
      float* out = w.data() + row * columns;
      for (std::int64_t i = 0; i < columns; ++i) {
        out[i] = scale[i / kFourBitGroup] * static_cast<float>(FourBitValue(q, i));
      }
    }
  });
  return w;
}

std::vector<float> Expand(const CompressedMatrix& matrix) {
  std::vector<float> w = ExpandResidual(matrix);
  AddLowRank(ToFloats(matrix.rows.up), ToFloats(matrix.down), 1.0F, matrix.n(), matrix.k(), matrix.rank(), w);
  return w;
}

}  // namespace ovi
