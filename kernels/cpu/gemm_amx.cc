#include "kernels/cpu/gemm_amx.h"

#include <atomic>
#include <cstring>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace ovi::cpu {

void PackAmxRow(const AmxLayout& layout, std::int64_t index, const std::byte* row, std::int64_t row_bytes,
                std::byte* packed) {
  // A tile holds, for each 4 bytes of K, those 4 bytes of 16 rows of W side by side.
  const std::int64_t in_panel = index % AmxLayout::kPanelRows;
  const std::int64_t tile_offset = in_panel / 16 * 1024 + in_panel % 16 * 4;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    std::byte* step_data = packed + layout.Offset(index / AmxLayout::kPanelRows, block) + tile_offset;
    for (std::int64_t step = layout.BlockBegin(block); step < layout.BlockBegin(block + 1); ++step) {
      alignas(64) std::byte line[AmxLayout::kStepBytes] = {};
      const std::int64_t begin = step * AmxLayout::kStepBytes;
      std::memcpy(line, row + begin,
                  static_cast<std::size_t>(std::min(AmxLayout::kStepBytes, row_bytes - begin)));
      for (std::int64_t quad = 0; quad < 16; ++quad) std::memcpy(step_data + quad * 64, line + quad * 4, 4);
      step_data += AmxLayout::kPanelStepBytes;
    }
  }
}

#if defined(__x86_64__)

namespace {

constexpr std::int64_t kRowBlock = kAmxPassPairs * kAmxPairRows;
constexpr std::int64_t kRowBlocksMax = 4;  // row blocks packed at a time

// Rows of a in the order the passes read them: block by block, in a block pair by pair.
struct PackedRows {
  std::byte* data = nullptr;
  std::int64_t row = 0;   // first row of a
  std::int64_t rows = 0;  // up to kRowBlock; the packed tail is zero
  std::int64_t pairs() const { return (rows + kAmxPairRows - 1) / kAmxPairRows; }
};

void PackPair(const Gemm& op, const AmxLayout& layout, const PackedRows& packed, std::int64_t pair) {
  const std::int64_t row_bytes = op.weight->k * ElementBytes(op.a.dtype);
  const std::int64_t first = pair * kAmxPairRows;
  const std::int64_t rows = std::min(kAmxPairRows, packed.rows - first);
  const std::byte* src = op.a.data + (packed.row + first) * row_bytes;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const std::int64_t begin = layout.BlockBegin(block);
    const std::int64_t steps = layout.BlockSteps(block);
    PackAmxPair(src + begin * kAmxStepBytes, row_bytes, rows, row_bytes - begin * kAmxStepBytes, steps,
                packed.data + (begin * packed.pairs() + pair * steps) * kAmxPairStepBytes);
  }
}

// Sums of the rows of `a` times panels [begin, end) of W, all in one group. `stride` counts sums.
void Multiply(const Gemm& op, const AmxLayout& layout, const PackedRows& a, std::int64_t begin,
              std::int64_t end, std::byte* sums, std::int64_t stride) {
  const AmxTiles tiles;
  const std::int64_t panels = end - begin;
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const std::int64_t steps = layout.BlockSteps(block);
    AmxPass pass;
    pass.type = op.weight->dtype == DType::kI8 ? AmxSums::kI32 : AmxSums::kF32;
    pass.first_block = block == 0;
    pass.a = a.data + layout.BlockBegin(block) * a.pairs() * kAmxPairStepBytes;
    pass.sums_stride = stride * std::int64_t{sizeof(float)};
    pass.steps = steps;
    pass.pairs = a.pairs();
    pass.next_w_lines = static_cast<int>((32 + a.pairs() - 1) / a.pairs());
    // After the last block, the next task's first one.
    const std::int64_t next_block = (block + 1) % layout.blocks();
    const std::int64_t panel_steps = panels * steps;
    pass.next_a = a.data + layout.BlockBegin(next_block) * a.pairs() * kAmxPairStepBytes;
    pass.next_a_lines =
        static_cast<int>((layout.BlockSteps(next_block) * 32 + panel_steps - 1) / panel_steps);
    for (std::int64_t panel = begin; panel < end; ++panel) {
      pass.w = op.weight->storage.data + layout.Offset(panel, block);
      pass.next_w = pass.w + steps * AmxLayout::kPanelStepBytes;
      pass.sums = sums + (panel - begin) * AmxLayout::kPanelRows * std::int64_t{sizeof(float)};
      RunAmxPass(pass);
      pass.next_a += pass.next_a_lines * a.pairs() * (steps - 1) * 64;
    }
  }
}

// The rows of `a` times panels [begin, end) of W, all in one group, to the end.
bool RunTask(const Gemm& op, const AmxLayout& layout, const PackedRows& a, std::int64_t begin,
             std::int64_t end) {
  thread_local Scratch scratch;
  const std::int64_t panels = end - begin;
  // One more line a row keeps rows that are read together out of each other's cache sets.
  const std::int64_t stride = panels * AmxLayout::kPanelRows + 16;
  std::byte* sums = scratch.Reserve(a.pairs() * kAmxPairRows * stride * std::int64_t{sizeof(float)});
  if (sums == nullptr) return false;
  Multiply(op, layout, a, begin, end, sums, stride);
  const std::int64_t column = begin * AmxLayout::kPanelRows;
  const GemmWindow window{a.row, a.rows, column,
                          std::min(op.weight->n - column, panels * AmxLayout::kPanelRows)};
  if (op.weight->dtype == DType::kI8) {
    FinishGemm(op, window, reinterpret_cast<const std::int32_t*>(sums), stride);
  } else {
    FinishGemm(op, window, reinterpret_cast<const float*>(sums), stride);
  }
  return true;
}

// Panels of a task: as many as share their rows of a well, fewer where threads would go without work.
std::int64_t TaskPanels(const AmxLayout& layout, std::int64_t row_blocks) {
  const std::int64_t wanted = 3 * std::int64_t{ThreadCount()};
  if (ThreadCount() == 1) return AmxLayout::kGroupPanels;
  const std::int64_t share = layout.panels() * row_blocks / wanted;
  for (const std::int64_t panels : {16, 8}) {
    if (panels <= share) return panels;
  }
  return 4;
}

}  // namespace

absl::Status RunAmxGemm(const Gemm& op) {
  thread_local Scratch scratch;
  const AmxLayout layout(op.weight->dtype, op.weight->n, op.weight->k);
  const std::int64_t m = op.a.shape[0];
  const std::int64_t block_bytes = kRowBlock * layout.steps() * AmxLayout::kStepBytes;
  std::atomic<bool> ok = true;
  for (std::int64_t base = 0; base < m; base += kRowBlock * kRowBlocksMax) {
    const std::int64_t rows = std::min(m - base, kRowBlock * kRowBlocksMax);
    const std::int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock;
    std::byte* packed = scratch.Reserve(row_blocks * block_bytes);
    if (packed == nullptr) return absl::ResourceExhaustedError("gemm: out of host memory");
    const auto rows_of = [&](std::int64_t block) {
      return PackedRows{packed + block * block_bytes, base + block * kRowBlock,
                        std::min(kRowBlock, rows - block * kRowBlock)};
    };
    ParallelFor((rows + kAmxPairRows - 1) / kAmxPairRows, 1, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t pair = from; pair < to; ++pair) {
        const std::int64_t pairs_a_block = kRowBlock / kAmxPairRows;
        PackPair(op, layout, rows_of(pair / pairs_a_block), pair % pairs_a_block);
      }
    });
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

absl::Status RunAmxGemm(const Gemm&) {
  return absl::InternalError("gemm: AMX asked for on another processor");
}

#endif

}  // namespace ovi::cpu
