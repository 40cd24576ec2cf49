// What the matrix kernels share: sums on their way out.
#pragma once

#include <cstdint>

#include "kernels/gemm.h"
#include "kernels/tensor.h"

namespace ovi::cpu {

// Where element (row, column) lies in a row-major matrix: 64 bit, since M * N leaves 31 bits at 54,900
// tokens.
constexpr std::int64_t ElementOffset(std::int64_t row, std::int64_t columns, std::int64_t column) {
  return row * columns + column;
}

// Rows [row, row + rows) x columns [column, column + columns) of a Gemm.
struct GemmWindow {
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
};

// Multiplies the sums of a window by the scales of e4m3 columns; int8's are FinishGemm's business.
void ScaleSums(const Gemm& op, const GemmWindow& window, float* sums, std::int64_t stride);

// Scales (int8), adds the bias, rounds, applies activation, gate and residual as kernels/gemm.h says, and
// writes out. `sums` points at the window's first element, its rows `stride` elements apart.
void FinishGemm(const Gemm& op, const GemmWindow& window, const float* sums, std::int64_t stride);
void FinishGemm(const Gemm& op, const GemmWindow& window, const std::int32_t* sums, std::int64_t stride);

}  // namespace ovi::cpu
