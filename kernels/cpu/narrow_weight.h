// Matrices kept narrower than bf16, in e4m3 or in 4 bits with a tail in bf16 (kernels/four_bit.h), for
// kernels that widen them to bf16 in pieces: where their parts lie, how they are packed, how a piece is
// widened.
//
// W is cut into panels of rows, a panel into steps and blocks of K. Before the tail, values lie in the order
// of the bf16 that they become, so that a block is widened from front to back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/amx_pass.h"
#include "kernels/cpu/gemm_panels.h"
#include "kernels/cpu/weight_rows.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

struct PanelShape {
  std::int64_t rows = 0;         // of W
  std::int64_t tile_rows = 0;    // of those, lie side by side
  std::int64_t step_values = 0;  // of K
  std::int64_t block_steps = 0;  // at most, in whole groups of kernels/four_bit.h
};

// Where the parts of a packed weight of dtype F8_E4M3 or of 4 bits lie. Pure.
template <PanelShape kShape>
class NarrowLayout {
 public:
  static constexpr std::int64_t kPanelRows = kShape.rows;
  static constexpr std::int64_t kStepValues = kShape.step_values;
  static constexpr std::int64_t kBlockSteps = kShape.block_steps;
  static constexpr std::int64_t kPanelStepValues = kPanelRows * kStepValues;
  static constexpr std::int64_t kWideStepBytes = kPanelStepValues * std::int64_t{sizeof(BFloat16)};
  static constexpr std::int64_t kGroupSteps = kFourBitGroup / kStepValues;
  static constexpr std::int64_t kGroupScaleBytes = kPanelRows * std::int64_t{sizeof(BFloat16)};
  static_assert(kFourBitGroup % kStepValues == 0 && kBlockSteps % kGroupSteps == 0);

  explicit NarrowLayout(const GemmWeight& weight)
      : panels_((weight.n + kPanelRows - 1) / kPanelRows),
        steps_(Steps(weight.k)),
        groups_(FourBitGroups(weight.k)),
        blocks_((groups_ * kGroupSteps + kBlockSteps - 1) / kBlockSteps),
        four_bit_(weight.four_bit.has_value()),
        tail_steps_(four_bit_ ? Steps(weight.four_bit->tail_rank) : 0),
        tail_blocks_((tail_steps_ + kBlockSteps - 1) / kBlockSteps) {}

  std::int64_t panels() const { return panels_; }
  // Of K and of the tail after it.
  std::int64_t steps() const { return steps_ + tail_steps_; }
  std::int64_t tail_steps() const { return tail_steps_; }
  std::int64_t blocks() const { return blocks_ + tail_blocks_; }
  bool IsTail(std::int64_t block) const { return block >= blocks_; }
  std::int64_t bytes() const { return TailOffset(panels_, 0); }

  // The first step of block `block`; of blocks(), the end. Blocks before the tail begin with a group.
  std::int64_t BlockBegin(std::int64_t block) const {
    if (block < blocks_) return groups_ * block / blocks_ * kGroupSteps;
    return block == blocks_ ? steps_ : steps_ + tail_steps_ * (block - blocks_) / tail_blocks_;
  }
  std::int64_t BlockSteps(std::int64_t block) const { return BlockBegin(block + 1) - BlockBegin(block); }

  // Panel by panel, a panel step by step: so blocks of a panel lie one after another. The tail's panels lie
  // after all others.
  std::int64_t Offset(std::int64_t panel, std::int64_t block) const {
    const std::int64_t step = BlockBegin(block);
    return IsTail(block) ? TailOffset(panel, step - steps_) : StepOffset(panel, step);
  }
  std::int64_t BlockBytes(std::int64_t block) const {
    return BlockSteps(block) * (IsTail(block) ? kWideStepBytes : StepBytes());
  }
  // Of 4 bits only: the scales of a group, one for each row of the panel.
  std::int64_t ScaleOffset(std::int64_t panel, std::int64_t group) const {
    return StepOffset(panels_, 0) + (panel * groups_ + group) * kGroupScaleBytes;
  }

  // Of a step of a panel before the tail.
  std::int64_t StepBytes() const { return four_bit_ ? kPanelStepValues / 2 : kPanelStepValues; }
  std::int64_t StepOffset(std::int64_t panel, std::int64_t step) const {
    return (panel * steps_ + step) * StepBytes();
  }
  std::int64_t TailOffset(std::int64_t panel, std::int64_t step) const {
    const std::int64_t begin = four_bit_ ? (ScaleOffset(panels_, 0) + 63) / 64 * 64 : StepOffset(panels_, 0);
    return begin + (panel * tail_steps_ + step) * kWideStepBytes;
  }

  // In a panel of values of a byte or more each, in values: where value `i` of K of the panel's row `row` is.
  // In a step, for each pair of K, that pair of a tile's rows side by side.
  static constexpr std::int64_t ValueOffset(std::int64_t row, std::int64_t i) {
    const std::int64_t in_step = i % kStepValues;
    const std::int64_t tile = row / kShape.tile_rows;
    return i / kStepValues * kPanelStepValues + tile * kShape.tile_rows * kStepValues +
           in_step / 2 * kShape.tile_rows * 2 + row % kShape.tile_rows * 2 + in_step % 2;
  }
  // In a panel of 4 bits, in bytes: the 64 that hold values i to i + 7 of K of 16 rows from `row` on.
  static constexpr std::int64_t WordsOffset(std::int64_t row, std::int64_t i) {
    constexpr std::int64_t kWords = kStepValues / 8;
    return i / kStepValues * (kPanelStepValues / 2) + (row / 16 * kWords + i % kStepValues / 8) * 64;
  }

 private:
  static constexpr std::int64_t Steps(std::int64_t k) { return (k + kStepValues - 1) / kStepValues; }

  std::int64_t panels_;
  std::int64_t steps_;
  std::int64_t groups_;
  std::int64_t blocks_;
  bool four_bit_;
  std::int64_t tail_steps_;
  std::int64_t tail_blocks_;
};

// Three vectors of sums by four instructions (gemm_widened.h).
using WidenedLayout =
    NarrowLayout<PanelShape{.rows = 48, .tile_rows = 48, .step_values = 8, .block_steps = 96}>;
// Two AMX tiles side by side (gemm_amx_narrow.h).
using AmxNarrowLayout = NarrowLayout<PanelShape{
    .rows = kAmxPanelRows, .tile_rows = 16, .step_values = kAmxStepBytes / 2, .block_steps = kAmxBlockSteps}>;

// Puts `row`, row `index` of the weight, in its place in its storage. Rows past n are never set and reach no
// output.
template <typename Layout>
void PackNarrowRow(const GemmWeight& weight, std::int64_t index, const std::uint8_t* row);
template <typename Layout>
void PackNarrowRow(const GemmWeight& weight, std::int64_t index, const FourBitRow& row);

// A block of a panel as bf16, in `scratch` (Layout::kBlockSteps * Layout::kWideStepBytes) or, of the tail,
// where it lies. The processor has AVX-512 with BF16 (features.h).
template <typename Layout>
const std::byte* WideBlock(const GemmWeight& weight, const Layout& layout, const PanelBlock& at,
                           std::byte* scratch);

// What a block multiplies of a row of `a` or of `a_tail`, in bytes. The block's last steps may ask for more:
// for zeros, as W has there.
struct BlockOfRow {
  const Tensor& from;
  std::int64_t row_bytes = 0;
  std::int64_t begin = 0;
  std::int64_t bytes = 0;

  const std::byte* Of(std::int64_t row) const { return from.data + row * row_bytes + begin; }
};

template <typename Layout>
BlockOfRow RowPart(const Gemm& op, const Layout& layout, std::int64_t block) {
  constexpr std::int64_t kStepBytes = Layout::kStepValues * std::int64_t{sizeof(BFloat16)};
  const bool tail = layout.IsTail(block);
  const Tensor& from = tail ? op.a_tail : op.a;
  const std::int64_t row_bytes = from.shape[1] * std::int64_t{sizeof(BFloat16)};
  const std::int64_t first_step = tail ? layout.steps() - layout.tail_steps() : 0;
  const std::int64_t begin = (layout.BlockBegin(block) - first_step) * kStepBytes;
  return {from, row_bytes, begin, std::min(layout.BlockSteps(block) * kStepBytes, row_bytes - begin)};
}

}  // namespace ovi::cpu
