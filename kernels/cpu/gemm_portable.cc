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

// Packed: panels of 16 rows of W, in each of them element (k, column) at k * 16 + column. Of 4 bits, the
// scales so, after them pairs of K, and the tail.
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

// Parts of a panel of 4 bits.
struct FourBitPanel {
  std::int64_t k;
  std::int64_t tail_rank;

  explicit FourBitPanel(const GemmWeight& weight) : k(weight.k), tail_rank(weight.four_bit->tail_rank) {}
  std::int64_t ValuesOffset() const { return FourBitGroups(k) * kPanel * std::int64_t{sizeof(BFloat16)}; }
  std::int64_t TailOffset() const { return ValuesOffset() + FourBitRowBytes(k) * kPanel; }
  std::int64_t bytes() const { return TailOffset() + tail_rank * kPanel * std::int64_t{sizeof(BFloat16)}; }
};

std::int64_t PanelBytes(const GemmWeight& weight) {
  if (weight.four_bit) return FourBitPanel(weight).bytes();
  return kPanel * weight.k * ElementBytes(weight.dtype);
}

// Elements [begin, begin + steps) of K of a panel.
template <typename W>
void WidenSteps(const W* panel, std::int64_t begin, std::int64_t steps, float* w) {
  for (std::int64_t i = 0; i < steps * kPanel; ++i) w[i] = Widen(panel[begin * kPanel + i]);
}
void WidenSteps(const FourBitPanel& parts, const std::byte* panel, std::int64_t begin, std::int64_t steps,
                float* w) {
  const auto* scale = reinterpret_cast<const BFloat16*>(panel);
  const auto* values = reinterpret_cast<const std::uint8_t*>(panel + parts.ValuesOffset());
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t at = begin + i;
    const BFloat16* scale_of = scale + at / kFourBitGroup * kPanel;
    const std::uint8_t* pair = values + at / 2 * kPanel;
    const int shift = static_cast<int>(at % 2 * 4);
    for (std::int64_t c = 0; c < kPanel; ++c) {
      const int q = ((pair[c] >> shift & 0xf) ^ 8) - 8;  // of two's complement
      w[i * kPanel + c] = RoundToBFloat16(static_cast<float>(q) * ToFloat(scale_of[c]));
    }
  }
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

// sums[r][c] += sum over k of a[r][k] * panel[k][c], whose steps widen(begin, steps, w) gives. One order of k
// for every row, whatever M is.
template <typename A, typename Sum, typename Widened>
void MultiplyPanel(const A* a, std::int64_t k, std::int64_t rows, const Widened& widen, Sum* sums,
                   std::int64_t stride) {
  float w[kSteps * kPanel];
  float a_rows[kRows * kSteps] = {};
  float block[kRows * kPanel];
  for (std::int64_t begin = 0; begin < k; begin += kSteps) {
    const std::int64_t steps = std::min(kSteps, k - begin);
    widen(begin, steps, w);
    for (std::int64_t row = 0; row < rows; row += kRows) {
      const std::int64_t count = std::min(kRows, rows - row);
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t i = 0; i < steps; ++i) a_rows[r * kSteps + i] = Widen(a[(row + r) * k + begin + i]);
      }
      MultiplyBlock(a_rows, w, steps, block);
      for (std::int64_t r = 0; r < count; ++r) {
        Sum* out = sums + (row + r) * stride;
        for (std::int64_t c = 0; c < kPanel; ++c) out[c] += static_cast<Sum>(block[r * kPanel + c]);
      }
    }
  }
}

constexpr std::int64_t kSumsStride = kPanel * kPanelsPerTask;

template <typename Sum>
Sum* ZeroSums() {
  thread_local Scratch scratch;
  constexpr std::int64_t kBytes = kChunk * kSumsStride * std::int64_t{sizeof(Sum)};
  std::byte* memory = scratch.Reserve(kBytes);
  if (memory != nullptr) std::memset(memory, 0, static_cast<std::size_t>(kBytes));
  return reinterpret_cast<Sum*>(memory);
}

// The panels of a window one after another: multiply(its first byte, where its sums go).
template <typename Sum, typename Multiply>
void ForEachPanel(const Gemm& op, const GemmWindow& window, Sum* sums, const Multiply& multiply) {
  const std::byte* packed = op.weight->storage.data;
  const std::int64_t panel_bytes = PanelBytes(*op.weight);
  RunVectorised([&] {
    for (std::int64_t column = 0; column < window.columns; column += kPanel) {
      multiply(packed + (window.column + column) / kPanel * panel_bytes, sums + column);
    }
  });
}

template <typename A, typename W>
bool RunTask(const Gemm& op, const GemmWindow& window) {
  auto* sums = ZeroSums<SumOf<W>>();
  if (sums == nullptr) return false;
  const std::int64_t k = op.weight->k;
  const A* a = reinterpret_cast<const A*>(op.a.data) + window.row * k;
  ForEachPanel(op, window, sums, [&](const std::byte* panel, SumOf<W>* panel_sums) {
    const auto widen = [&](std::int64_t begin, std::int64_t steps, float* w) {
      WidenSteps(reinterpret_cast<const W*>(panel), begin, steps, w);
    };
    MultiplyPanel(a, k, window.rows, widen, panel_sums, kSumsStride);
  });
  if constexpr (std::is_same_v<W, Float8>) ScaleSums(op, window, sums, kSumsStride);
  FinishGemm(op, window, sums, kSumsStride);
  return true;
}

bool RunFourBitTask(const Gemm& op, const GemmWindow& window) {
  auto* sums = ZeroSums<float>();
  if (sums == nullptr) return false;
  const FourBitPanel parts(*op.weight);
  const BFloat16* a = reinterpret_cast<const BFloat16*>(op.a.data) + window.row * parts.k;
  const BFloat16* a_tail = reinterpret_cast<const BFloat16*>(op.a_tail.data) + window.row * parts.tail_rank;
  ForEachPanel(op, window, sums, [&](const std::byte* panel, float* panel_sums) {
    const auto widen = [&](std::int64_t begin, std::int64_t steps, float* w) {
      WidenSteps(parts, panel, begin, steps, w);
    };
    const auto widen_tail = [&](std::int64_t begin, std::int64_t steps, float* w) {
      WidenSteps(reinterpret_cast<const BFloat16*>(panel + parts.TailOffset()), begin, steps, w);
    };
    MultiplyPanel(a, parts.k, window.rows, widen, panel_sums, kSumsStride);
    MultiplyPanel(a_tail, parts.tail_rank, window.rows, widen_tail, panel_sums, kSumsStride);
  });
  FinishGemm(op, window, sums, kSumsStride);
  return true;
}

// `count` values of `bytes` each into a column of a panel.
void PutColumn(const std::byte* row, std::int64_t count, std::int64_t bytes, std::byte* column) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(column + i * kPanel * bytes, row + i * bytes, static_cast<std::size_t>(bytes));
  }
}

}  // namespace

std::int64_t PortableGemmBytes(const GemmWeight& weight) {
  return (weight.n + kPanel - 1) / kPanel * PanelBytes(weight);
}

void PackPortableRow(const GemmWeight& weight, std::int64_t index, const std::byte* row) {
  const std::int64_t bytes = ElementBytes(weight.dtype);
  std::byte* panel = weight.storage.data + index / kPanel * PanelBytes(weight);
  PutColumn(row, weight.k, bytes, panel + index % kPanel * bytes);
}

void PackPortableRow(const GemmWeight& weight, std::int64_t index, const FourBitRow& row) {
  constexpr std::int64_t kBytes = sizeof(BFloat16);
  const FourBitPanel parts(weight);
  const std::int64_t column = index % kPanel;
  std::byte* panel = weight.storage.data + index / kPanel * parts.bytes();
  PutColumn(row.scale, FourBitGroups(parts.k), kBytes, panel + column * kBytes);
  PutColumn(reinterpret_cast<const std::byte*>(row.q), FourBitRowBytes(parts.k), 1,
            panel + parts.ValuesOffset() + column);
  PutColumn(row.up, parts.tail_rank, kBytes, panel + parts.TailOffset() + column * kBytes);
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
    const auto run = op.weight->four_bit                  ? RunFourBitTask
                     : op.weight->dtype == DType::kBF16   ? RunTask<BFloat16, BFloat16>
                     : op.weight->dtype == DType::kF8E4M3 ? RunTask<BFloat16, Float8>
                                                          : RunTask<std::int8_t, std::int8_t>;
    if (!run(op, window)) ok = false;
  });
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

}  // namespace ovi::cpu
