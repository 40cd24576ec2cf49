#include "kernels/cpu/gemm_portable.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/weight_rows.h"

namespace ovi::cpu {
namespace {

// Packed: panels of 16 rows of W, in each of them element (k, column) at k * 16 + column.
constexpr std::int64_t kPanel = 16;
constexpr std::int64_t kRows = 4;     // rows of a that share a pass over a panel: 4 x 16 sums in registers
constexpr std::int64_t kChunk = 128;  // rows of a task
constexpr std::int64_t kPanelsPerTask = 4;

// Steps of K that are widened to f32 together: 16 KiB of W in L1. int8 multiplies in f32 as well, which
// vectorises far better than integers do on old processors, and is exact: 256 products of at most 127 * 127
// stay below 2^24.
constexpr std::int64_t kSteps = 256;

inline float Widen(std::int8_t x) {
  return x;
}
inline float Widen(BFloat16 x) {
  return ToFloat(x);
}
struct Float8 {
  std::uint8_t bits;
};
inline float Widen(Float8 x) {
  return Float8E4M3Table()[x.bits];
}

template <typename T>
using SumOf = std::conditional_t<std::is_same_v<T, std::int8_t>, std::int32_t, float>;

// block[r][c] = sum over i of a[r][i] * w[i][c], in one order of i.
inline void MultiplyBlock(const float* __restrict a, const float* __restrict w, std::int64_t steps,
                          float* __restrict block) {
  float sums[kRows][kPanel] = {};
  for (std::int64_t i = 0; i < steps; ++i) {
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t c = 0; c < kPanel; ++c) sums[r][c] += a[r * kSteps + i] * w[i * kPanel + c];
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < kPanel; ++c) block[r * kPanel + c] = sums[r][c];
  }
}

// sums[r][c] = sum over k of a[r][k] * panel[k][c]. One order of k for every row, whatever M is.
template <typename A, typename W>
void MultiplyPanel(const A* a, std::int64_t k, std::int64_t rows, const W* panel, SumOf<W>* sums,
                   std::int64_t stride) {
  float w[kSteps * kPanel];
  float a_rows[kRows * kSteps] = {};
  float block[kRows * kPanel];
  for (std::int64_t begin = 0; begin < k; begin += kSteps) {
    const std::int64_t steps = std::min(kSteps, k - begin);
    for (std::int64_t i = 0; i < steps * kPanel; ++i) w[i] = Widen(panel[begin * kPanel + i]);
    for (std::int64_t row = 0; row < rows; row += kRows) {
      const std::int64_t count = std::min(kRows, rows - row);
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t i = 0; i < steps; ++i) a_rows[r * kSteps + i] = Widen(a[(row + r) * k + begin + i]);
      }
      MultiplyBlock(a_rows, w, steps, block);
      for (std::int64_t r = 0; r < count; ++r) {
        SumOf<W>* out = sums + (row + r) * stride;
        for (std::int64_t c = 0; c < kPanel; ++c) {
          const auto sum = static_cast<SumOf<W>>(block[r * kPanel + c]);
          out[c] = begin == 0 ? sum : out[c] + sum;
        }
      }
    }
  }
}

template <typename A, typename W>
bool RunTask(const Gemm& op, const GemmWindow& window) {
  using Sum = SumOf<W>;
  thread_local Scratch scratch;
  constexpr std::int64_t kStride = kPanel * kPanelsPerTask;
  auto* sums = reinterpret_cast<Sum*>(scratch.Reserve(kChunk * kStride * std::int64_t{sizeof(Sum)}));
  if (sums == nullptr) return false;
  const std::int64_t k = op.weight->k;
  const A* a = reinterpret_cast<const A*>(op.a.data) + window.row * k;
  const W* packed = reinterpret_cast<const W*>(op.weight->storage.data);
  RunVectorised([&] {
    for (std::int64_t column = 0; column < window.columns; column += kPanel) {
      const W* panel = packed + (window.column + column) * k;
      MultiplyPanel(a, k, window.rows, panel, sums + column, kStride);
    }
  });
  if constexpr (std::is_same_v<W, Float8>) ScaleSums(op, window, sums, kStride);
  FinishGemm(op, window, sums, kStride);
  return true;
}

}  // namespace

std::int64_t PortableGemmBytes(DType dtype, std::int64_t n, std::int64_t k) {
  return (n + kPanel - 1) / kPanel * kPanel * k * ElementBytes(dtype);
}

void PackPortableRow(DType dtype, std::int64_t k, std::int64_t index, const std::byte* row,
                     std::byte* packed) {
  const std::int64_t bytes = ElementBytes(dtype);
  std::byte* panel = packed + index / kPanel * kPanel * k * bytes;
  for (std::int64_t i = 0; i < k; ++i) {
    std::memcpy(panel + (i * kPanel + index % kPanel) * bytes, row + i * bytes,
                static_cast<std::size_t>(bytes));
  }
}

absl::Status RunPortableGemm(const Gemm& op) {
  const std::int64_t m = op.a.shape[0];
  const std::int64_t n = op.weight->n;
  const std::int64_t width = kPanel * kPanelsPerTask;
  const std::int64_t chunks = (m + kChunk - 1) / kChunk;
  const std::int64_t groups = (n + width - 1) / width;
  std::atomic<bool> ok = true;
  ParallelForEach(chunks * groups, [&](std::int64_t task) {
    const std::int64_t row = task % chunks * kChunk;
    const std::int64_t column = task / chunks * width;
    const GemmWindow window{row, std::min(kChunk, m - row), column, std::min(width, n - column)};
    const auto run = op.weight->dtype == DType::kBF16     ? RunTask<BFloat16, BFloat16>
                     : op.weight->dtype == DType::kF8E4M3 ? RunTask<BFloat16, Float8>
                                                          : RunTask<std::int8_t, std::int8_t>;
    if (!run(op, window)) ok = false;
  });
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

}  // namespace ovi::cpu
