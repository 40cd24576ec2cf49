// bf16, e4m3, int8 and 4-bit matrix multiplication for processors without instructions for them: widened to
// f32 a block at a time, then plain loops that vectorise.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cpu/weight_rows.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Bytes of a packed weight of dtype BF16, F8_E4M3 or I8, or of 4 bits.
std::int64_t PortableGemmBytes(const GemmWeight& weight);

// Puts `row`, row `index` of the weight, in its place in its storage. Bytes of rows past n are never set and
// reach no output.
void PackPortableRow(const GemmWeight& weight, std::int64_t index, const std::byte* row);
void PackPortableRow(const GemmWeight& weight, std::int64_t index, const FourBitRow& row);

absl::Status RunPortableGemm(const Gemm& op);

}  // namespace ovi::cpu
