// int8 matrix multiplication with AVX-512 VNNI, whose instruction takes u8 by i8.
//
// Rows of a are packed as u8, q + 128, and the sums start at -128 times the sum of W's row, so that they end
// where those of q would: nothing is left to correct. W is packed as panels of 48 rows, cut into blocks of up
// to 1536 of K. Such a block, 72 KiB, streams from L2 past eight rows of a, which stay in L1; their 8 x 48
// sums live in registers and pass through a scratch matrix in L2 between blocks. Integer sums are exact: a
// row's result does not depend on M, N, its neighbours or the thread count.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Where the parts of a packed (n, k) weight lie. Pure.
class VnniLayout {
 public:
  static constexpr std::int64_t kPanelRows = 48;  // of W, three vectors of sums
  static constexpr std::int64_t kStepBytes = 8;   // of K, two instructions
  static constexpr std::int64_t kPanelStepBytes = kPanelRows * kStepBytes;
  // A block that fits L1 (64 steps) loses 4 % on Zen 4 to sums that come and go more often.
  static constexpr std::int64_t kBlockSteps = 192;

  VnniLayout(std::int64_t n, std::int64_t k)
      : panels_((n + kPanelRows - 1) / kPanelRows),
        steps_((k + kStepBytes - 1) / kStepBytes),
        blocks_((steps_ + kBlockSteps - 1) / kBlockSteps) {}

  std::int64_t panels() const { return panels_; }
  std::int64_t steps() const { return steps_; }
  std::int64_t blocks() const { return blocks_; }
  std::int64_t bytes() const { return SumsOffset(panels_); }

  // The first K step of block `block`; of blocks(), the end.
  std::int64_t BlockBegin(std::int64_t block) const { return steps_ * block / blocks_; }
  std::int64_t BlockSteps(std::int64_t block) const { return BlockBegin(block + 1) - BlockBegin(block); }

  // Panel by panel, a panel step by step: so blocks of a panel lie one after another.
  std::int64_t Offset(std::int64_t panel, std::int64_t step) const {
    return (panel * steps_ + step) * kPanelStepBytes;
  }
  // After all panels, what the sums of a panel start with: 48 i32.
  std::int64_t SumsOffset(std::int64_t panel) const {
    return Offset(panels_, 0) + panel * kPanelRows * std::int64_t{sizeof(std::int32_t)};
  }

 private:
  std::int64_t panels_;
  std::int64_t steps_;
  std::int64_t blocks_;
};

// Puts `row`, row `index` of the weight with `k` values, in its place in `packed`. Rows past n are never set
// and reach no output.
void PackVnniRow(const VnniLayout& layout, std::int64_t index, const std::int8_t* row, std::int64_t k,
                 std::byte* packed);

// The processor has AVX-512 with VNNI (features.h), the weight is int8.
absl::Status RunVnniGemm(const Gemm& op);

}  // namespace ovi::cpu
