#include "kernels/cpu/gemm_vnni.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_panels.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

namespace ovi::cpu {

void PackVnniRow(const VnniLayout& layout, std::int64_t index, const std::int8_t* row, std::int64_t k,
                 std::byte* packed) {
  // For each 4 bytes of K, those 4 bytes of the panel's 48 rows side by side.
  constexpr std::int64_t kQuad = 4;
  const std::int64_t panel = index / VnniLayout::kPanelRows;
  const std::int64_t in_panel = index % VnniLayout::kPanelRows;
  std::byte* dst = packed + layout.Offset(panel, 0) + in_panel * kQuad;
  for (std::int64_t begin = 0; begin < layout.steps() * VnniLayout::kStepBytes; begin += kQuad) {
    std::int8_t quad[kQuad] = {};
    for (std::int64_t i = begin; i < std::min(begin + kQuad, k); ++i) quad[i - begin] = row[i];
    std::memcpy(dst, quad, kQuad);
    dst += VnniLayout::kPanelRows * kQuad;
  }
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < k; ++i) sum += row[i];
  reinterpret_cast<std::int32_t*>(packed + layout.SumsOffset(panel))[in_panel] = -128 * sum;
}

#if defined(__x86_64__)

namespace {

// Four panels are 192 columns: their sums for 256 rows, a block of those rows and two of W take 740 KiB of
// L2.
constexpr PanelBlocking kBlocking{.rows = 256, .row_blocks_max = 4, .panels = 4};

using Tile = PanelTile<std::int32_t>;

// The products are asm statements: from intrinsics GCC 12 makes a loop that copies sums between registers and
// runs at half the rate. The rows that follow are fetched into L1, one line for each line that is read.
template <int kRows>
[[gnu::target("avx512f,avx512bw,avx512vl,avx512vnni"), gnu::noinline]] void RunTile(const Tile& tile) {
  constexpr int kVectors = 3;
  constexpr std::int64_t kQuadBytes = kVectors * 64;
  __m512i sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      sums[row][v] = _mm512_load_si512(tile.from + row * tile.from_stride + v * 16);
    }
  }
  for (std::int64_t line = 0; line < tile.next_w_lines; ++line) {
    _mm_prefetch(tile.next_w + line * 64, _MM_HINT_T1);
  }
  const std::int64_t row_bytes = tile.steps * VnniLayout::kStepBytes;
  const std::byte* a = tile.a;
  const std::byte* next_a = a + kRows * row_bytes;
  const std::byte* w = tile.w;
  const std::byte* const end = w + tile.steps * VnniLayout::kPanelStepBytes;
  for (; w != end; w += VnniLayout::kPanelStepBytes, a += VnniLayout::kStepBytes) {
    _mm_prefetch(next_a, _MM_HINT_T0);
    next_a += kRows * VnniLayout::kStepBytes;
#pragma GCC unroll 2
    for (int quad = 0; quad < 2; ++quad) {
      __m512i columns[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) columns[v] = _mm512_load_si512(w + quad * kQuadBytes + v * 64);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        std::int32_t four;
        std::memcpy(&four, a + row * row_bytes + quad * 4, sizeof(four));
        const __m512i values = _mm512_set1_epi32(four);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) {
          asm volatile("vpdpbusd %2, %1, %0" : "+v"(sums[row][v]) : "v"(values), "v"(columns[v]));
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      _mm512_store_si512(tile.sums + row * tile.sums_stride + v * 16, sums[row][v]);
    }
  }
}

constexpr PanelTiles<std::int32_t> kTiles = {RunTile<1>, RunTile<2>, RunTile<3>, RunTile<4>,
                                             RunTile<5>, RunTile<6>, RunTile<7>, RunTile<8>};

// As u8, see the header.
void PackRow(const Gemm& op, const VnniLayout& layout, const PackedRows& packed, std::int64_t row) {
  const std::int64_t k = op.weight->k;
  const auto* src = reinterpret_cast<const std::uint8_t*>(op.a.data) + (packed.row + row) * k;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const std::int64_t begin = layout.BlockBegin(block) * VnniLayout::kStepBytes;
    const std::int64_t bytes = layout.BlockSteps(block) * VnniLayout::kStepBytes;
    const std::int64_t count = std::min(bytes, k - begin);
    auto* dst = reinterpret_cast<std::uint8_t*>(packed.Block(begin) + row * bytes);
    for (std::int64_t i = 0; i < count; ++i) dst[i] = src[begin + i] ^ 0x80u;
    for (std::int64_t i = count; i < bytes; ++i) dst[i] = 0;  // W is zero here, too
  }
}

// The rows of `a` times panels [begin, end) of W, to the end.
bool RunTask(const Gemm& op, const VnniLayout& layout, const PackedRows& a, std::int64_t begin,
             std::int64_t end) {
  thread_local Scratch scratch;
  const std::int64_t panels = end - begin;
  // One more line a row keeps rows that are read together out of each other's cache sets.
  const std::int64_t stride = panels * VnniLayout::kPanelRows + 16;
  auto* sums =
      reinterpret_cast<std::int32_t*>(scratch.Reserve(a.rows * stride * std::int64_t{sizeof(std::int32_t)}));
  if (sums == nullptr) return false;
  const std::byte* packed = op.weight->storage.data;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      Tile tile;
      tile.w = packed + layout.Offset(panel, layout.BlockBegin(block));
      tile.steps = layout.BlockSteps(block);
      tile.sums = sums + (panel - begin) * VnniLayout::kPanelRows;
      tile.sums_stride = stride;
      tile.from = tile.sums;
      tile.from_stride = stride;
      if (block == 0) {
        tile.from = reinterpret_cast<const std::int32_t*>(packed + layout.SumsOffset(panel));
        tile.from_stride = 0;
      }
      const PanelBlock next = NextPanelBlock({panel, block}, begin, end, layout.panels(), layout.blocks());
      tile.next_w = packed + layout.Offset(next.panel, layout.BlockBegin(next.block));
      tile.a = a.Block(layout.BlockBegin(block) * VnniLayout::kStepBytes);
      RunPanelTiles(kTiles, tile, a.rows, tile.steps * VnniLayout::kStepBytes,
                    tile.steps * VnniLayout::kPanelStepBytes);
    }
  }
  const std::int64_t column = begin * VnniLayout::kPanelRows;
  const std::int64_t columns = std::min(op.weight->n - column, panels * VnniLayout::kPanelRows);
  FinishGemm(op, {a.row, a.rows, column, columns}, sums, stride);
  return true;
}

}  // namespace

absl::Status RunVnniGemm(const Gemm& op) {
  const VnniLayout layout(op.weight->n, op.weight->k);
  return RunPanelTasks(
      kBlocking, op.a.shape[0], layout.panels(), layout.steps() * VnniLayout::kStepBytes,
      [&](const PackedRows& rows, std::int64_t row) {
        RunVectorised([&] { PackRow(op, layout, rows, row); });
      },
      [&](const PackedRows& rows, std::int64_t begin, std::int64_t end) {
        return RunTask(op, layout, rows, begin, end);
      });
}

#else

absl::Status RunVnniGemm(const Gemm&) {
  return absl::InternalError("gemm: VNNI asked for on another processor");
}

#endif

}  // namespace ovi::cpu
