// bf16 and int8 matrix multiplication on AMX tiles.
//
// W is packed as panels of 32 rows (two tiles side by side), cut into blocks of up to 16 K steps of 64 bytes.
// Such a block of W, 32 KiB, stays in L1 while the rows of a stream past it from L2, and the 32 x 32 sums of
// four tiles pass through a scratch matrix in L2 between blocks. The order of additions depends on K alone,
// so a row's result does not depend on M, N, its neighbours or the thread count.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cpu/amx_pass.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Where the blocks of a packed (n, k) weight lie. Pure.
class AmxLayout {
 public:
  static constexpr std::int64_t kPanelRows = kAmxPanelRows;
  static constexpr std::int64_t kStepBytes = kAmxStepBytes;
  static constexpr std::int64_t kBlockSteps = kAmxBlockSteps;
  static constexpr std::int64_t kPanelStepBytes = kAmxPanelStepBytes;
  // Panels that are worked on together: 512 columns. Their sums for 256 rows and two blocks of those rows
  // take 1 MiB of L2; of a Xeon's 2 MiB, 1.3 MiB can be read at the full rate.
  static constexpr std::int64_t kGroupPanels = 16;

  AmxLayout(DType dtype, std::int64_t n, std::int64_t k)
      : panels_((n + kPanelRows - 1) / kPanelRows),
        steps_((k * ElementBytes(dtype) + kStepBytes - 1) / kStepBytes),
        blocks_((steps_ + kBlockSteps - 1) / kBlockSteps) {}

  std::int64_t panels() const { return panels_; }
  std::int64_t steps() const { return steps_; }
  std::int64_t blocks() const { return blocks_; }
  std::int64_t bytes() const { return panels_ * steps_ * kPanelStepBytes; }

  // The first K step of block `block`; of blocks(), the end.
  std::int64_t BlockBegin(std::int64_t block) const { return steps_ * block / blocks_; }
  std::int64_t BlockSteps(std::int64_t block) const { return BlockBegin(block + 1) - BlockBegin(block); }

  // Groups of panels one after another; in a group, block by block, the panels of a block side by side: the
  // order in which they are read.
  std::int64_t Offset(std::int64_t panel, std::int64_t block) const {
    const std::int64_t group = panel / kGroupPanels * kGroupPanels;
    const std::int64_t group_panels = std::min(kGroupPanels, panels_ - group);
    return (group * steps_ + BlockBegin(block) * group_panels + (panel - group) * BlockSteps(block)) *
           kPanelStepBytes;
  }

 private:
  std::int64_t panels_;
  std::int64_t steps_;
  std::int64_t blocks_;
};

// Puts `row`, row `index` of the weight with `row_bytes` bytes, in its place in `packed`. Rows past n are
// never set and reach no output.
void PackAmxRow(const AmxLayout& layout, std::int64_t index, const std::byte* row, std::int64_t row_bytes,
                std::byte* packed);

// The processor has AMX and granted it to this process (features.h).
absl::Status RunAmxGemm(const Gemm& op);

}  // namespace ovi::cpu
