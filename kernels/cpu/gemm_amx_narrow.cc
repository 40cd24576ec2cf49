#include "kernels/cpu/gemm_amx_narrow.h"

#include <algorithm>
#include <array>

#include "kernels/cpu/amx_pass.h"
#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/gemm_epilogue.h"
#include "kernels/cpu/gemm_panels.h"
#include "kernels/cpu/narrow_weight.h"
#include "kernels/cpu/scratch.h"

namespace ovi::cpu {

#if defined(__x86_64__)

namespace {

using Layout = AmxNarrowLayout;

constexpr std::int64_t kLineBytes = 64;  // of cache

// What is a row of a to gemm_panels.h is a pair of tiles of rows here. The sums of all take 1.1 MiB of L2,
// next to what was widened and a block of eight pairs.
constexpr PanelBlocking kBlocking{.rows = 32, .row_blocks_max = 1, .panels = 8, .pack_rows_min = 1};
constexpr std::int64_t kWideBytes = Layout::kBlockSteps * Layout::kWideStepBytes;

std::int64_t CeilDiv(std::int64_t x, std::int64_t y) {
  return (x + y - 1) / y;
}

void PackPair(const Gemm& op, const Layout& layout, const PackedRows& packed, std::int64_t pair) {
  const std::int64_t first = (packed.row + pair) * kAmxPairRows;
  const std::int64_t rows = std::min(kAmxPairRows, op.a.shape[0] - first);
  for (std::int64_t block = 0; block < layout.blocks(); ++block) {
    const BlockOfRow part = RowPart(op, layout, block);
    const std::int64_t steps = layout.BlockSteps(block);
    std::byte* dst = packed.Block(layout.BlockBegin(block) * kAmxPairStepBytes);
    PackAmxPair(part.Of(first), part.row_bytes, rows, part.bytes, steps,
                dst + pair * steps * kAmxPairStepBytes);
  }
}

// Pairs of rows that go past panels together, of one block.
struct PairBlock {
  std::int64_t begin = 0;
  std::int64_t pairs = 0;
  std::int64_t block = 0;
  std::int64_t panel = 0;  // the first one
};

// Panels [begin, begin + panels) for some rows, and the scratch of that.
struct Task {
  const Gemm& op;
  const Layout& layout;
  const PackedRows& a;
  std::int64_t begin = 0;
  std::int64_t panels = 0;
  std::byte* sums = nullptr;
  std::int64_t stride = 0;  // bytes

  std::int64_t pair_blocks() const { return CeilDiv(a.rows, kAmxPassPairs); }
  PairBlock At(std::int64_t index, std::int64_t block) const {
    const std::int64_t from = a.rows * index / pair_blocks();
    return {from, a.rows * (index + 1) / pair_blocks() - from, block, begin};
  }
  // What comes after: the block's next pairs, or the next block; after the last one, what the next task
  // begins with.
  PairBlock After(std::int64_t index, std::int64_t block) const {
    if (index + 1 < pair_blocks()) return At(index + 1, block);
    if (block + 1 < layout.blocks()) return At(0, block + 1);
    PairBlock next = At(0, 0);
    next.panel = (begin + panels) % layout.panels();
    return next;
  }
  const std::byte* Rows(const PairBlock& at) const {
    return a.Block(layout.BlockBegin(at.block) * kAmxPairStepBytes) +
           at.begin * layout.BlockSteps(at.block) * kAmxPairStepBytes;
  }
};

// `at` past all panels of its block, which `wide` points at. Meanwhile the rows of `next` are fetched, and
// what is to be widened for them.
void RunPanels(const Task& task, const PairBlock& at, const PairBlock& next,
               const std::array<const std::byte*, kBlocking.panels>& wide) {
  const Layout& layout = task.layout;
  AmxPass pass;
  pass.first_block = at.block == 0;
  pass.a = task.Rows(at);
  pass.sums_stride = task.stride;
  pass.steps = layout.BlockSteps(at.block);
  pass.pairs = at.pairs;
  const std::int64_t fetching_steps = std::max<std::int64_t>(at.pairs * (pass.steps - 1), 1);
  const std::int64_t next_bytes = next.pairs * layout.BlockSteps(next.block) * kAmxPairStepBytes;
  pass.next_a = task.Rows(next);
  pass.next_a_lines = static_cast<int>(CeilDiv(next_bytes / kLineBytes, task.panels * fetching_steps));
  if (next.block != at.block || next.panel != at.panel) {
    pass.next_w_lines = static_cast<int>(CeilDiv(layout.BlockBytes(next.block) / kLineBytes, fetching_steps));
  }
  for (std::int64_t panel = 0; panel < task.panels; ++panel) {
    pass.w = wide[static_cast<std::size_t>(panel)];
    pass.next_w =
        task.op.weight->storage.data + layout.Offset((next.panel + panel) % layout.panels(), next.block);
    pass.sums = task.sums + at.begin * kAmxPairRows * task.stride +
                panel * Layout::kPanelRows * std::int64_t{sizeof(float)};
    RunAmxPass(pass);
    pass.next_a += pass.next_a_lines * fetching_steps * kLineBytes;
  }
}

void Multiply(const Task& task, std::byte* scratch) {
  const AmxTiles tiles;
  const std::int64_t blocks = task.layout.blocks();
  for (std::int64_t block = 0; block < blocks; ++block) {
    std::array<const std::byte*, kBlocking.panels> wide{};
    for (std::int64_t panel = 0; panel < task.panels; ++panel) {
      wide[static_cast<std::size_t>(panel)] =
          WideBlock(*task.op.weight, task.layout, {task.begin + panel, block}, scratch + panel * kWideBytes);
    }
    for (std::int64_t index = 0; index < task.pair_blocks(); ++index) {
      RunPanels(task, task.At(index, block), task.After(index, block), wide);
    }
  }
}

// The pairs of `a` times panels [begin, end) of W, to the end.
bool RunTask(const Gemm& op, const Layout& layout, const PackedRows& a, std::int64_t begin,
             std::int64_t end) {
  thread_local Scratch scratch;
  const std::int64_t panels = end - begin;
  // One more line a row, as in gemm_amx.cc.
  const std::int64_t stride = panels * Layout::kPanelRows + 16;
  const std::int64_t stride_bytes = stride * std::int64_t{sizeof(float)};
  std::byte* memory = scratch.Reserve(panels * kWideBytes + a.rows * kAmxPairRows * stride_bytes);
  if (memory == nullptr) return false;
  std::byte* sums = memory + panels * kWideBytes;
  Multiply({op, layout, a, begin, panels, sums, stride_bytes}, memory);
  const std::int64_t row = a.row * kAmxPairRows;
  const std::int64_t column = begin * Layout::kPanelRows;
  const GemmWindow window{row, std::min(a.rows * kAmxPairRows, op.a.shape[0] - row), column,
                          std::min(op.weight->n - column, panels * Layout::kPanelRows)};
  auto* floats = reinterpret_cast<float*>(sums);
  if (IsQuantised(op.weight->dtype)) ScaleSums(op, window, floats, stride);
  FinishGemm(op, window, floats, stride);
  return true;
}

}  // namespace

absl::Status RunAmxNarrowGemm(const Gemm& op) {
  const Layout layout(*op.weight);
  return RunPanelTasks(
      kBlocking, CeilDiv(op.a.shape[0], kAmxPairRows), layout.panels(), layout.steps() * kAmxPairStepBytes,
      [&](const PackedRows& pairs, std::int64_t pair) { PackPair(op, layout, pairs, pair); },
      [&](const PackedRows& pairs, std::int64_t begin, std::int64_t end) {
        return RunTask(op, layout, pairs, begin, end);
      });
}

#else

absl::Status RunAmxNarrowGemm(const Gemm&) {
  return absl::InternalError("gemm: AMX asked for on another processor");
}

#endif

}  // namespace ovi::cpu
