// Checkpoint weights on their way into a kernel's layout.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace ovi::cpu {

// Converts row `row` of a host matrix (rows, K) of dtype F32, BF16, F16 or F8_E4M3 to `out`, K values of f32
// or bf16 (round to nearest even). The matrix may lie anywhere: files do not align their tensors.
void ConvertWeightRow(const HostTensor& src, std::int64_t row, float* out);
void ConvertWeightRow(const HostTensor& src, std::int64_t row, BFloat16* out);

}  // namespace ovi::cpu
