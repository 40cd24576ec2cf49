// bf16 matrix multiplication (VDPBF16PS) by a matrix that is kept narrower: in e4m3, or in 4 bits with a tail
// in bf16 (kernels/four_bit.h).
//
// W is packed as panels of 48 rows, cut into blocks of up to 768 of K. Such a block is widened to bf16 into
// 72 KiB of scratch that stay in L2; from there it streams past eight rows of a at a time, whose 8 x 48 sums
// live in registers and pass through a scratch matrix between blocks. A few hundred rows of a share what was
// widened: 1 or 2 % of the time goes there. The blocks of a tail follow as they are. A row's sums are added
// in one order of K, whatever M, its neighbours and the thread count are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cpu/weight_rows.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Where the parts of a packed weight of dtype F8_E4M3 or of 4 bits lie. Pure.
class WidenedLayout {
 public:
  static constexpr std::int64_t kPanelRows = 48;  // of W, three vectors of sums
  static constexpr std::int64_t kStepValues = 8;  // of K, four instructions
  static constexpr std::int64_t kPanelStepValues = kPanelRows * kStepValues;
  static constexpr std::int64_t kWideStepBytes = kPanelStepValues * std::int64_t{sizeof(BFloat16)};
  static constexpr std::int64_t kGroupSteps = kFourBitGroup / kStepValues;
  static constexpr std::int64_t kGroupScaleBytes = kPanelRows * std::int64_t{sizeof(BFloat16)};
  static constexpr std::int64_t kBlockSteps = 96;  // whole groups

  explicit WidenedLayout(const GemmWeight& weight)
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

// Puts `row`, row `index` of the weight, in its place in its storage. Rows past n are never set and reach no
// output.
void PackWidenedRow(const GemmWeight& weight, std::int64_t index, const std::uint8_t* row);
void PackWidenedRow(const GemmWeight& weight, std::int64_t index, const FourBitRow& row);

// The processor has AVX-512 with BF16 (features.h), the weight is e4m3 or of 4 bits.
absl::Status RunWidenedGemm(const Gemm& op);

}  // namespace ovi::cpu
