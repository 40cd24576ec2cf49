// bf16 matrix multiplication on AMX tiles by a matrix that is kept narrower (narrow_weight.h).
//
// A block of up to 512 of K of eight panels is widened to bf16 into 256 KiB of scratch in L2, and up to 1,024
// rows of a, packed as for gemm_amx.h, stream past it: widening 32 x 32 values takes as long as two or three
// pairs of rows take to use them. The blocks of a tail follow as they are. A row's sums are added in one
// order of K, whatever M, its neighbours and the thread count are.
#pragma once

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// The processor has AMX and granted it to this process (features.h), the weight is e4m3 or of 4 bits.
absl::Status RunAmxNarrowGemm(const Gemm& op);

}  // namespace ovi::cpu
