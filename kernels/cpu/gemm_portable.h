// bf16, e4m3 and int8 matrix multiplication for processors without instructions for them: widened to f32 a
// block at a time, then plain loops that vectorise.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Bytes of a packed (n, k) weight of dtype BF16, F8_E4M3 or I8.
std::int64_t PortableGemmBytes(DType dtype, std::int64_t n, std::int64_t k);

// Puts `row`, row `index` of the (n, k) weight, in its place in `packed`. Bytes of rows past n are never set
// and reach no output.
void PackPortableRow(DType dtype, std::int64_t k, std::int64_t index, const std::byte* row,
                     std::byte* packed);

absl::Status RunPortableGemm(const Gemm& op);

}  // namespace ovi::cpu
