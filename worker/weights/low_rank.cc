#include "worker/weights/low_rank.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/parallel.h"

namespace ovi {
namespace {

// A tile of `down` of rank 32 and this many columns is 64 KiB: it stays in the nearest caches while all rows
// pass over it. It is copied first: rows of a large matrix lie a multiple of 4 KiB apart, where they would
// drive each other out. 14336x3072 at rank 32 takes 0.09 s of one AVX-512 core; with tiles of 256 or 1024
// columns it was 0.11 and 0.10.
constexpr std::int64_t kTileColumns = 512;
constexpr std::int64_t kRowGrain = 64;
constexpr std::int64_t kRanks = 8;  // a pass over a row of w: one load and one store of w for 8 products

struct Tile {
  const float* down;  // (rank, kTileColumns)
  std::int64_t columns;
  std::int64_t rank;
};

// One row of one tile. `b`: the row of up, times the factor.
inline __attribute__((always_inline)) void AddRow(const float* __restrict b, const Tile& tile,
                                                  float* __restrict w) {
  constexpr std::int64_t kNext = kTileColumns;
  std::int64_t k = 0;
  for (; k + kRanks <= tile.rank; k += kRanks) {
    const float* __restrict a = tile.down + k * kNext;
    const float* __restrict c = b + k;
    // Written out: GCC 12 makes no vectors of a loop over the eight.
    for (std::int64_t j = 0; j < tile.columns; ++j) {
      w[j] += (c[0] * a[j] + c[1] * a[j + kNext]) + (c[2] * a[j + 2 * kNext] + c[3] * a[j + 3 * kNext]) +
              ((c[4] * a[j + 4 * kNext] + c[5] * a[j + 5 * kNext]) +
               (c[6] * a[j + 6 * kNext] + c[7] * a[j + 7 * kNext]));
    }
  }
  for (; k < tile.rank; ++k) {
    const float* __restrict a = tile.down + k * kNext;
    for (std::int64_t j = 0; j < tile.columns; ++j) w[j] += b[k] * a[j];
  }
}

void AddRowPortable(const float* b, const Tile& tile, float* w) {
  AddRow(b, tile, w);
}

#ifdef __x86_64__
__attribute__((target("avx512f,fma"))) void AddRowAvx512(const float* b, const Tile& tile, float* w) {
  AddRow(b, tile, w);
}
__attribute__((target("avx2,fma"))) void AddRowAvx2(const float* b, const Tile& tile, float* w) {
  AddRow(b, tile, w);
}
#endif

using RowKernel = void (*)(const float* b, const Tile& tile, float* w);

RowKernel ChooseRowKernel() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return AddRowAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AddRowAvx2;
#endif
  return AddRowPortable;
}

}  // namespace

void AddLowRank(std::span<const float> up, std::span<const float> down, float factor, std::int64_t rows,
                std::int64_t columns, std::int64_t rank, std::span<float> w) {
  OVI_CHECK(static_cast<std::int64_t>(up.size()) == rows * rank);
  OVI_CHECK(static_cast<std::int64_t>(down.size()) == rank * columns);
  OVI_CHECK(static_cast<std::int64_t>(w.size()) == rows * columns);
  const RowKernel add_row = ChooseRowKernel();
  std::vector<float> scaled(up.begin(), up.end());
  for (float& value : scaled) value *= factor;
  cpu::ParallelFor(rows, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> copy(static_cast<std::size_t>(rank * kTileColumns));
    for (std::int64_t column = 0; column < columns; column += kTileColumns) {
      const Tile tile{copy.data(), std::min(kTileColumns, columns - column), rank};
      for (std::int64_t k = 0; k < rank; ++k) {
        std::copy_n(down.data() + k * columns + column, tile.columns, copy.data() + k * kTileColumns);
      }
      for (std::int64_t row = begin; row < end; ++row) {
        add_row(scaled.data() + row * rank, tile, w.data() + row * columns + column);
      }
    }
  });
}

void AddScaled(std::span<const float> diff, float factor, std::span<float> w) {
  OVI_CHECK(diff.size() == w.size());
  for (std::size_t i = 0; i < w.size(); ++i) w[i] += factor * diff[i];
}

}  // namespace ovi
