#include "kernels/cpu/gemm_vnni.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

constexpr std::int64_t kTileRows = 8;
constexpr std::int64_t kRowBlock = 256;    // rows that share one pass over W
constexpr std::int64_t kRowBlocksMax = 4;  // row blocks packed at a time
// Panels that are worked on together: 192 columns. Their sums for 256 rows, a block of those rows and two of
// W take 740 KiB of L2.
constexpr std::int64_t kGroupPanels = 4;

// Some rows against one block of one panel.
struct Tile {
  const std::byte* a = nullptr;  // row after row, each `steps` steps
  const std::byte* w = nullptr;
  std::int64_t steps = 0;
  const std::int32_t* from = nullptr;  // what the sums start with
  std::int64_t from_stride = 0;
  std::int32_t* sums = nullptr;
  std::int64_t sums_stride = 0;
  // Fetched into L2 meanwhile: a share of the next block of W.
  const std::byte* next_w = nullptr;
  std::int64_t next_w_lines = 0;
};

// Eight rows of three vectors of sums, three vectors of W and a few rows' broadcasts fill the registers. The
// products are asm statements: from intrinsics GCC 12 makes a loop that copies sums between registers and
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

using TileFunction = void (*)(const Tile&);
constexpr std::array<TileFunction, kTileRows> kTiles = {RunTile<1>, RunTile<2>, RunTile<3>, RunTile<4>,
                                                        RunTile<5>, RunTile<6>, RunTile<7>, RunTile<8>};

// Rows of a as u8, in the order the tiles read them: block by block, in a block row by row.
struct PackedRows {
  std::byte* data = nullptr;
  std::int64_t row = 0;  // first row of a
  std::int64_t rows = 0;

  std::byte* Block(const VnniLayout& layout, std::int64_t block) const {
    return data + layout.BlockBegin(block) * VnniLayout::kStepBytes * rows;
  }
};

void PackRow(const Gemm& op, const VnniLayout& layout, const PackedRows& packed, std::int64_t row) {
  const std::int64_t k = op.weight->k;
  const auto* src = reinterpret_cast<const std::uint8_t*>(op.a.data) + (packed.row + row) * k;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const std::int64_t begin = layout.BlockBegin(block) * VnniLayout::kStepBytes;
    const std::int64_t bytes = layout.BlockSteps(block) * VnniLayout::kStepBytes;
    const std::int64_t count = std::min(bytes, k - begin);
    auto* dst = reinterpret_cast<std::uint8_t*>(packed.Block(layout, block) + row * bytes);
    for (std::int64_t i = 0; i < count; ++i) dst[i] = src[begin + i] ^ 0x80u;
    for (std::int64_t i = count; i < bytes; ++i) dst[i] = 0;  // W is zero here, too
  }
}

// One block of panel `panel` against all rows of `a`. `next_w` is the block that is read after it.
void RunPass(const VnniLayout& layout, const PackedRows& a, std::int64_t block, const Tile& first,
             const std::byte* next_w) {
  constexpr std::int64_t kLines = VnniLayout::kPanelStepBytes / 64;  // a step
  Tile tile = first;
  const std::int64_t row_bytes = tile.steps * VnniLayout::kStepBytes;
  const std::int64_t tiles = (a.rows + kTileRows - 1) / kTileRows;
  // Rows are dealt out evenly: a last tile of one row would take a third of the time of eight.
  const std::int64_t rows = a.rows / tiles;
  const std::int64_t longer_tiles = a.rows % tiles;
  tile.a = a.Block(layout, block);
  tile.next_w = next_w;
  tile.next_w_lines = (tile.steps * kLines + tiles - 1) / tiles;
  for (std::int64_t index = 0; index < tiles; ++index) {
    const std::int64_t count = index < longer_tiles ? rows + 1 : rows;
    kTiles[static_cast<std::size_t>(count - 1)](tile);
    tile.a += count * row_bytes;
    tile.from += count * tile.from_stride;
    tile.sums += count * tile.sums_stride;
    tile.next_w += tile.next_w_lines * 64;
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
      // Past the last block, the next task's first one.
      const bool wrap = panel + 1 == end;
      const bool done = wrap && block + 1 == layout.blocks();
      const std::int64_t next_panel = done ? end % layout.panels() : wrap ? begin : panel + 1;
      const std::int64_t next_block = done ? 0 : wrap ? block + 1 : block;
      RunPass(layout, a, block, tile, packed + layout.Offset(next_panel, layout.BlockBegin(next_block)));
    }
  }
  const std::int64_t column = begin * VnniLayout::kPanelRows;
  const std::int64_t columns = std::min(op.weight->n - column, panels * VnniLayout::kPanelRows);
  FinishGemm(op, {a.row, a.rows, column, columns}, sums, stride);
  return true;
}

// Panels of a task: as many as share their rows of a well, fewer where threads would go without work.
std::int64_t TaskPanels(const VnniLayout& layout, std::int64_t row_blocks) {
  if (ThreadCount() == 1) return kGroupPanels;
  const std::int64_t share = layout.panels() * row_blocks / (3 * std::int64_t{ThreadCount()});
  return std::clamp<std::int64_t>(share, 1, kGroupPanels);
}

}  // namespace

absl::Status RunVnniGemm(const Gemm& op) {
  thread_local Scratch scratch;
  const VnniLayout layout(op.weight->n, op.weight->k);
  const std::int64_t m = op.a.shape[0];
  const std::int64_t row_bytes = layout.steps() * VnniLayout::kStepBytes;
  std::atomic<bool> ok = true;
  for (std::int64_t base = 0; base < m; base += kRowBlock * kRowBlocksMax) {
    const std::int64_t rows = std::min(m - base, kRowBlock * kRowBlocksMax);
    const std::int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock;
    std::byte* packed = scratch.Reserve(rows * row_bytes);
    if (packed == nullptr) return absl::ResourceExhaustedError("gemm: out of host memory");
    const auto rows_of = [&](std::int64_t block) {
      const std::int64_t begin = rows * block / row_blocks;
      return PackedRows{packed + begin * row_bytes, base + begin, rows * (block + 1) / row_blocks - begin};
    };
    for (std::int64_t block = 0; block < row_blocks; ++block) {
      const PackedRows part = rows_of(block);
      ParallelFor(part.rows, 8, [&](std::int64_t from, std::int64_t to) {
        RunVectorised([&] {
          for (std::int64_t row = from; row < to; ++row) PackRow(op, layout, part, row);
        });
      });
    }
    const std::int64_t task_panels = TaskPanels(layout, row_blocks);
    const std::int64_t column_tasks = (layout.panels() + task_panels - 1) / task_panels;
    // Row blocks run next to each other, so that they find the panels of W in the last-level cache.
    ParallelForEach(column_tasks * row_blocks, [&](std::int64_t task) {
      const std::int64_t begin = task / row_blocks * task_panels;
      const std::int64_t end = std::min(begin + task_panels, layout.panels());
      if (!RunTask(op, layout, rows_of(task % row_blocks), begin, end)) ok = false;
    });
  }
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

#else

absl::Status RunVnniGemm(const Gemm&) {
  return absl::InternalError("gemm: VNNI asked for on another processor");
}

#endif

}  // namespace ovi::cpu
