#include "kernels/cpu/gemm_portable.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace ovi::cpu {
namespace {

// Packed: panels of 16 rows of W, in each of them element (k, column) at k * 16 + column.
constexpr std::int64_t kPanel = 16;
constexpr std::int64_t kRows = 4;     // rows of a that share a pass over a panel: 4 x 16 sums in registers
constexpr std::int64_t kChunk = 128;  // rows of a task
constexpr std::int64_t kPanelsPerTask = 4;

inline std::int32_t Widen(std::int8_t x) {
  return x;
}
inline float Widen(BFloat16 x) {
  return ToFloat(x);
}

// sums[r][c] = sum over k of a[r][k] * panel[k][c]. One order of k for every row, whatever M is.
template <typename T, typename Sum>
void MultiplyPanel(const T* a, std::int64_t k, std::int64_t rows, const T* panel, Sum* sums,
                   std::int64_t stride) {
  Sum block[kRows][kPanel] = {};
  for (std::int64_t i = 0; i < k; ++i) {
    Sum w[kPanel];
    for (std::int64_t c = 0; c < kPanel; ++c) w[c] = Widen(panel[i * kPanel + c]);
    for (std::int64_t r = 0; r < kRows; ++r) {
      const Sum x = Widen(a[std::min(r, rows - 1) * k + i]);
      for (std::int64_t c = 0; c < kPanel; ++c) block[r][c] += x * w[c];
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) std::copy_n(block[r], kPanel, sums + r * stride);
}

template <typename T, typename Sum>
bool RunTask(const Gemm& op, const GemmWindow& window) {
  thread_local Scratch scratch;
  constexpr std::int64_t kStride = kPanel * kPanelsPerTask;
  auto* sums = reinterpret_cast<Sum*>(scratch.Reserve(kChunk * kStride * std::int64_t{sizeof(Sum)}));
  if (sums == nullptr) return false;
  const std::int64_t k = op.weight->k;
  const T* a = reinterpret_cast<const T*>(op.a.data) + window.row * k;
  const T* packed = reinterpret_cast<const T*>(op.weight->storage.data);
  RunVectorised([&] {
    for (std::int64_t column = 0; column < window.columns; column += kPanel) {
      const T* panel = packed + (window.column + column) * k;
      for (std::int64_t row = 0; row < window.rows; row += kRows) {
        MultiplyPanel(a + row * k, k, std::min(kRows, window.rows - row), panel,
                      sums + row * kStride + column, kStride);
      }
    }
  });
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
    const bool done = op.weight->dtype == DType::kBF16 ? RunTask<BFloat16, float>(op, window)
                                                       : RunTask<std::int8_t, std::int32_t>(op, window);
    if (!done) ok = false;
  });
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

}  // namespace ovi::cpu
