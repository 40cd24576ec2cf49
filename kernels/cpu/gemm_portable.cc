#include "kernels/cpu/gemm_portable.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

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

// Sixteen elements as the compiler's own vectors, which it maps to whatever registers there are.
template <typename T>
struct Lanes;
template <>
struct Lanes<BFloat16> {
  using Sum = float;
  typedef std::uint16_t Packed __attribute__((vector_size(32), aligned(2)));
  typedef std::uint32_t Wide __attribute__((vector_size(64)));
  typedef float Sums __attribute__((vector_size(64)));
};
template <>
struct Lanes<std::int8_t> {
  using Sum = std::int32_t;
  typedef std::int8_t Packed __attribute__((vector_size(16), aligned(1)));
  typedef std::int32_t Wide __attribute__((vector_size(64)));
  typedef std::int32_t Sums __attribute__((vector_size(64)));
};

inline std::int32_t Widen(std::int8_t x) {
  return x;
}
inline float Widen(BFloat16 x) {
  return ToFloat(x);
}

// sums[r][c] = sum over k of a[r][k] * panel[k][c]. One order of k for every row, whatever M is.
template <typename T>
void MultiplyPanel(const T* a, std::int64_t k, std::int64_t rows, const T* panel,
                   typename Lanes<T>::Sum* sums, std::int64_t stride) {
  using Sums = typename Lanes<T>::Sums;
  const T* row[kRows];  // missing rows repeat the last one
  for (std::int64_t r = 0; r < kRows; ++r) row[r] = a + std::min(r, rows - 1) * k;
  Sums block[kRows] = {};
  for (std::int64_t i = 0; i < k; ++i) {
    typename Lanes<T>::Packed packed;
    std::memcpy(&packed, panel + i * kPanel, sizeof(packed));
    auto wide = __builtin_convertvector(packed, typename Lanes<T>::Wide);
    if constexpr (std::is_same_v<T, BFloat16>) wide <<= 16;  // a bf16 is the upper half of a float
    Sums w;
    std::memcpy(&w, &wide, sizeof(w));
    for (std::int64_t r = 0; r < kRows; ++r) block[r] += w * Widen(row[r][i]);
  }
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(sums + r * stride, &block[r], sizeof(block[r]));
}

template <typename T>
bool RunTask(const Gemm& op, const GemmWindow& window) {
  using Sum = typename Lanes<T>::Sum;
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
    const bool done =
        op.weight->dtype == DType::kBF16 ? RunTask<BFloat16>(op, window) : RunTask<std::int8_t>(op, window);
    if (!done) ok = false;
  });
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

}  // namespace ovi::cpu
