// bf16 matrix multiplication (VDPBF16PS) by a matrix that is kept narrower (narrow_weight.h).
//
// W is packed as panels of 48 rows, cut into blocks of up to 768 of K. Such a block is widened to bf16 into
// 72 KiB of scratch that stay in L2; from there it streams past eight rows of a at a time, whose 8 x 48 sums
// live in registers and pass through a scratch matrix between blocks. A few hundred rows of a share what was
// widened: 1 or 2 % of the time goes there. The blocks of a tail follow as they are. A row's sums are added
// in one order of K, whatever M, its neighbours and the thread count are.
#pragma once

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// The processor has AVX-512 with BF16 (features.h), the weight is e4m3 or of 4 bits.
absl::Status RunWidenedGemm(const Gemm& op);

}  // namespace ovi::cpu
