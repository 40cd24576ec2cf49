// What the matrix kernels share that stream blocks of W out of L2 past a few rows of a at a time
// (gemm_vnni.cc, gemm_widened.cc, gemm_amx_narrow.cc).
//
// W is cut into panels, a panel along K into blocks. A task is some hundred rows of a times a few panels,
// block by block; its sums pass through a scratch matrix between the blocks.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace ovi::cpu {

// Some rows against one block of one panel.
template <typename Sum>
struct PanelTile {
  const std::byte* a = nullptr;  // row after row, each `steps` steps
  const std::byte* w = nullptr;
  std::int64_t steps = 0;
  const Sum* from = nullptr;  // what the sums start with
  std::int64_t from_stride = 0;
  Sum* sums = nullptr;
  std::int64_t sums_stride = 0;
  // Fetched into L2 meanwhile: a share of the next block of W.
  const std::byte* next_w = nullptr;
  std::int64_t next_w_lines = 0;
};

// Eight rows of three vectors of sums, three vectors of W and a few rows' broadcasts fill the registers.
inline constexpr std::int64_t kPanelTileRows = 8;

// One function for each count of rows, from 1.
template <typename Sum>
using PanelTiles = std::array<void (*)(const PanelTile<Sum>&), kPanelTileRows>;

// `rows` rows of a, `row_bytes` each, against the block that `tile` describes; the first `next_w_bytes` bytes
// from tile.next_w on are fetched meanwhile.
template <typename Sum>
void RunPanelTiles(const PanelTiles<Sum>& functions, PanelTile<Sum> tile, std::int64_t rows,
                   std::int64_t row_bytes, std::int64_t next_w_bytes) {
  const std::int64_t tiles = (rows + kPanelTileRows - 1) / kPanelTileRows;
  // Rows are dealt out evenly: a last tile of one row would take a third of the time of eight.
  const std::int64_t longer_tiles = rows % tiles;
  tile.next_w_lines = (next_w_bytes / 64 + tiles - 1) / tiles;
  for (std::int64_t index = 0; index < tiles; ++index) {
    const std::int64_t count = rows / tiles + (index < longer_tiles ? 1 : 0);
    functions[static_cast<std::size_t>(count - 1)](tile);
    tile.a += count * row_bytes;
    tile.from += count * tile.from_stride;
    tile.sums += count * tile.sums_stride;
    tile.next_w += tile.next_w_lines * 64;
  }
}

struct PanelBlock {
  std::int64_t panel = 0;
  std::int64_t block = 0;
};

// What a task over panels [begin, end) reads after `at`: all panels of a block, then the next block; past the
// last one, where the next task begins.
inline PanelBlock NextPanelBlock(const PanelBlock& at, std::int64_t begin, std::int64_t end,
                                 std::int64_t panels, std::int64_t blocks) {
  if (at.panel + 1 < end) return {at.panel + 1, at.block};
  if (at.block + 1 < blocks) return {begin, at.block + 1};
  return {end % panels, 0};
}

// Rows of a as the tiles read them: block by block, in a block row by row.
struct PackedRows {
  std::byte* data = nullptr;
  std::int64_t row = 0;  // first row of a
  std::int64_t rows = 0;

  // Where the block lies that begins `row_offset` bytes into a row.
  std::byte* Block(std::int64_t row_offset) const { return data + row_offset * rows; }
};

// How much a task takes on.
struct PanelBlocking {
  std::int64_t rows = 0;            // at most, that share one pass over W
  std::int64_t row_blocks_max = 0;  // so many times `rows` are packed at a time
  std::int64_t panels = 0;          // at most, that share their rows of a
  std::int64_t pack_rows_min = 8;   // that a thread packs
};

// Panels of a task: fewer than wanted where threads would go without work.
inline std::int64_t TaskPanels(const PanelBlocking& blocking, std::int64_t panels, std::int64_t row_blocks) {
  if (ThreadCount() == 1) return blocking.panels;
  const std::int64_t share = panels * row_blocks / (3 * std::int64_t{ThreadCount()});
  return std::clamp<std::int64_t>(share, 1, blocking.panels);
}

// Multiplies `m` rows by `panels` panels: pack(rows, i) packs row i of `rows`, which takes `row_bytes`, then
// run(rows, begin, end) takes panels [begin, end) to the end and returns false where memory ran out.
template <typename Pack, typename Run>
absl::Status RunPanelTasks(const PanelBlocking& blocking, std::int64_t m, std::int64_t panels,
                           std::int64_t row_bytes, const Pack& pack, const Run& run) {
  thread_local Scratch scratch;
  const std::int64_t rows_max = blocking.rows * blocking.row_blocks_max;
  const std::int64_t chunks = (m + rows_max - 1) / rows_max;
  std::atomic<bool> ok = true;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::int64_t base = m * chunk / chunks;
    const std::int64_t rows = m * (chunk + 1) / chunks - base;
    const std::int64_t row_blocks = (rows + blocking.rows - 1) / blocking.rows;
    std::byte* packed = scratch.Reserve(rows * row_bytes);
    if (packed == nullptr) return absl::ResourceExhaustedError("gemm: out of host memory");
    const auto rows_of = [&](std::int64_t block) {
      const std::int64_t begin = rows * block / row_blocks;
      return PackedRows{packed + begin * row_bytes, base + begin, rows * (block + 1) / row_blocks - begin};
    };
    for (std::int64_t block = 0; block < row_blocks; ++block) {
      const PackedRows part = rows_of(block);
      ParallelFor(part.rows, blocking.pack_rows_min, [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t row = from; row < to; ++row) pack(part, row);
      });
    }
    const std::int64_t task_panels = TaskPanels(blocking, panels, row_blocks);
    const std::int64_t column_tasks = (panels + task_panels - 1) / task_panels;
    // Row blocks run next to each other, so that they find the panels of W in the last-level cache.
    ParallelForEach(column_tasks * row_blocks, [&](std::int64_t task) {
      const std::int64_t begin = task / row_blocks * task_panels;
      if (!run(rows_of(task % row_blocks), begin, std::min(begin + task_panels, panels))) ok = false;
    });
  }
  return ok ? absl::OkStatus() : absl::ResourceExhaustedError("gemm: out of host memory");
}

}  // namespace ovi::cpu
