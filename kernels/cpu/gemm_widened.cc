#include "kernels/cpu/gemm_widened.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_panels.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/narrow_weight.h"
#include "kernels/cpu/scratch.h"

namespace ovi::cpu {

#if defined(__x86_64__)

namespace {

// 576 rows of a block of a take 860 KiB, their sums 250: more than some L2 hold, but the rows are read in
// order and come early enough from L3. Fewer of them lose more to widening.
constexpr PanelBlocking kBlocking{.rows = 576, .row_blocks_max = 2, .panels = 2};

constexpr std::int64_t kStepBytes = WidenedLayout::kStepValues * std::int64_t{sizeof(BFloat16)};
constexpr std::int64_t kPairBytes = WidenedLayout::kPanelRows * 2 * std::int64_t{sizeof(BFloat16)};
constexpr std::int64_t kPanelStepBytes = WidenedLayout::kWideStepBytes;

using Tile = PanelTile<float>;

// The products are asm statements, as in gemm_vnni.cc. The rows that follow are fetched into L1, one line for
// each line that is read.
template <int kRows>
[[gnu::target("avx512f,avx512bw,avx512vl,avx512bf16"), gnu::noinline]] void RunTile(const Tile& tile) {
  constexpr int kVectors = 3;
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      sums[row][v] = _mm512_load_ps(tile.from + row * tile.from_stride + v * 16);
    }
  }
  for (std::int64_t line = 0; line < tile.next_w_lines; ++line) {
    _mm_prefetch(tile.next_w + line * 64, _MM_HINT_T1);
  }
  const std::int64_t row_bytes = tile.steps * kStepBytes;
  const std::byte* a = tile.a;
  const std::byte* next_a = a + kRows * row_bytes;
  const std::byte* w = tile.w;
  const std::byte* const end = w + tile.steps * kPanelStepBytes;
  for (; w != end; w += kPanelStepBytes, a += kStepBytes) {
    _mm_prefetch(next_a, _MM_HINT_T0);
    _mm_prefetch(next_a + kRows * kStepBytes / 2, _MM_HINT_T0);
    next_a += kRows * kStepBytes;
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      __m512i columns[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) columns[v] = _mm512_load_si512(w + pair * kPairBytes + v * 64);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        std::int32_t two;
        std::memcpy(&two, a + row * row_bytes + pair * 4, sizeof(two));
        const __m512i values = _mm512_set1_epi32(two);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) {
          asm volatile("vdpbf16ps %2, %1, %0" : "+v"(sums[row][v]) : "v"(values), "v"(columns[v]));
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      _mm512_store_ps(tile.sums + row * tile.sums_stride + v * 16, sums[row][v]);
    }
  }
}

constexpr PanelTiles<float> kTiles = {RunTile<1>, RunTile<2>, RunTile<3>, RunTile<4>,
                                      RunTile<5>, RunTile<6>, RunTile<7>, RunTile<8>};

// As it is, but for zeros up to whole steps, before the tail and after it.
void PackRow(const Gemm& op, const WidenedLayout& layout, const PackedRows& packed, std::int64_t row) {
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const BlockOfRow part = RowPart(op, layout, block);
    const std::int64_t bytes = layout.BlockSteps(block) * kStepBytes;
    std::byte* dst = packed.Block(layout.BlockBegin(block) * kStepBytes) + row * bytes;
    std::memcpy(dst, part.Of(packed.row + row), static_cast<std::size_t>(part.bytes));
    std::memset(dst + part.bytes, 0, static_cast<std::size_t>(bytes - part.bytes));
  }
}

// The rows of `a` times panels [begin, end) of W, to the end.
bool RunTask(const Gemm& op, const WidenedLayout& layout, const PackedRows& a, std::int64_t begin,
             std::int64_t end) {
  thread_local Scratch scratch;
  const std::int64_t panels = end - begin;
  // One more line a row, as in gemm_vnni.cc.
  const std::int64_t stride = panels * WidenedLayout::kPanelRows + 16;
  constexpr std::int64_t kWideBytes = WidenedLayout::kBlockSteps * kPanelStepBytes;
  std::byte* wide = scratch.Reserve(kWideBytes + a.rows * stride * std::int64_t{sizeof(float)});
  if (wide == nullptr) return false;
  auto* sums = reinterpret_cast<float*>(wide + kWideBytes);
  alignas(64) static constexpr std::array<float, WidenedLayout::kPanelRows> kZeros{};
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      Tile tile;
      tile.a = a.Block(layout.BlockBegin(block) * kStepBytes);
      tile.w = WideBlock(*op.weight, layout, {panel, block}, wide);
      tile.steps = layout.BlockSteps(block);
      tile.sums = sums + (panel - begin) * WidenedLayout::kPanelRows;
      tile.sums_stride = stride;
      tile.from = block == 0 ? kZeros.data() : tile.sums;
      tile.from_stride = block == 0 ? 0 : stride;
      const PanelBlock next = NextPanelBlock({panel, block}, begin, end, layout.panels(), layout.blocks());
      tile.next_w = op.weight->storage.data + layout.Offset(next.panel, next.block);
      RunPanelTiles(kTiles, tile, a.rows, tile.steps * kStepBytes, layout.BlockBytes(next.block));
    }
  }
  const std::int64_t column = begin * WidenedLayout::kPanelRows;
  const std::int64_t columns = std::min(op.weight->n - column, panels * WidenedLayout::kPanelRows);
  const GemmWindow window{a.row, a.rows, column, columns};
  if (IsQuantised(op.weight->dtype)) ScaleSums(op, window, sums, stride);
  FinishGemm(op, window, sums, stride);
  return true;
}

}  // namespace

absl::Status RunWidenedGemm(const Gemm& op) {
  const WidenedLayout layout(*op.weight);
  return RunPanelTasks(
      kBlocking, op.a.shape[0], layout.panels(), layout.steps() * kStepBytes,
      [&](const PackedRows& rows, std::int64_t row) { PackRow(op, layout, rows, row); },
      [&](const PackedRows& rows, std::int64_t begin, std::int64_t end) {
        return RunTask(op, layout, rows, begin, end);
      });
}

#else

absl::Status RunWidenedGemm(const Gemm&) {
  return absl::InternalError("gemm: AVX-512 BF16 asked for on another processor");
}

#endif

}  // namespace ovi::cpu
