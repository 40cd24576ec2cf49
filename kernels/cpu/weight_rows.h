// Checkpoint weights on their way into a kernel's layout.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/four_bit.h"
#include "kernels/tensor.h"

namespace ovi::cpu {

// Converts row `row` of a host matrix (rows, K) of dtype F32, BF16, F16, F8_E4M3 or I8 to `out`, K values of
// f32 or bf16 (round to nearest even), scaled where the matrix has scales. The matrix may lie anywhere: files
// do not align their tensors.
void ConvertWeightRow(const HostTensor& src, std::int64_t row, float* out);
void ConvertWeightRow(const HostTensor& src, std::int64_t row, BFloat16* out);

// A row of FourBitRows; scale and up need not be aligned.
struct FourBitRow {
  const std::uint8_t* q = nullptr;
  const std::byte* scale = nullptr;
  const std::byte* up = nullptr;  // null without a tail
};
FourBitRow RowOf(const FourBitRows& src, std::int64_t index);

// The value of every e4m3 byte.
const std::array<float, 256>& Float8E4M3Table();

// Of a quantised matrix; 1 without scales.
float WeightRowScale(const HostTensor& src, std::int64_t row);

}  // namespace ovi::cpu
