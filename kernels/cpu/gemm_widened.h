// bf16 matrix multiplication (VDPBF16PS) by a matrix that is kept narrower, in e4m3.
//
// W is packed as panels of 48 rows, cut into blocks of up to 768 of K. Such a block is widened to bf16,
// exactly, into 72 KiB of scratch that stay in L2; from there it streams past eight rows of a at a time,
// whose 8 x 48 sums live in registers and pass through a scratch matrix between blocks. A few hundred rows of
// a share what was widened: less than a fortieth of the time goes there. A row's sums are added in one order
// of K, whatever M, its neighbours and the thread count are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Where the parts of a packed (n, k) weight lie. Pure.
class WidenedLayout {
 public:
  static constexpr std::int64_t kPanelRows = 48;  // of W, three vectors of sums
  static constexpr std::int64_t kStepValues = 8;  // of K, four instructions
  static constexpr std::int64_t kPanelStepValues = kPanelRows * kStepValues;
  static constexpr std::int64_t kBlockSteps = 96;

  WidenedLayout(std::int64_t n, std::int64_t k)
      : panels_((n + kPanelRows - 1) / kPanelRows),
        steps_((k + kStepValues - 1) / kStepValues),
        blocks_((steps_ + kBlockSteps - 1) / kBlockSteps) {}

  std::int64_t panels() const { return panels_; }
  std::int64_t steps() const { return steps_; }
  std::int64_t blocks() const { return blocks_; }
  std::int64_t bytes() const { return Offset(panels_, 0); }

  // The first K step of block `block`; of blocks(), the end.
  std::int64_t BlockBegin(std::int64_t block) const { return steps_ * block / blocks_; }
  std::int64_t BlockSteps(std::int64_t block) const { return BlockBegin(block + 1) - BlockBegin(block); }

  // Panel by panel, a panel step by step: so blocks of a panel lie one after another.
  std::int64_t Offset(std::int64_t panel, std::int64_t step) const {
    return (panel * steps_ + step) * kPanelStepValues;
  }

 private:
  std::int64_t panels_;
  std::int64_t steps_;
  std::int64_t blocks_;
};

// Puts `row`, row `index` of the weight with `k` values, in its place in `packed`. Rows past n are never set
// and reach no output.
void PackWidenedRow(const WidenedLayout& layout, std::int64_t index, const std::uint8_t* row, std::int64_t k,
                    std::byte* packed);

// The processor has AVX-512 with BF16 (features.h), the weight is e4m3.
absl::Status RunWidenedGemm(const Gemm& op);

}  // namespace ovi::cpu
