#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_math.h"

namespace ovi::cpu {
namespace {

constexpr std::int64_t kRowsAtLeast = 8;

float Sum(const float* row, std::int64_t count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < count; ++c) sum += row[c];
  return sum;
}

float SumOfSquares(const float* row, float mean, std::int64_t count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < count; ++c) sum += (row[c] - mean) * (row[c] - mean);
  return sum;
}

// One row of rope.h: `row` holds `heads` heads of `head_dim` values.
void RotateRow(const float* table, std::int64_t pairs, std::int64_t heads, std::int64_t head_dim,
               float* row) {
  for (std::int64_t head = 0; head < heads; ++head) {
    float* values = row + head * head_dim;
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
      const float cos = table[2 * pair];
      const float sin = table[2 * pair + 1];
      const float a = values[2 * pair];
      const float b = values[2 * pair + 1];
      values[2 * pair] = a * cos - b * sin;
      values[2 * pair + 1] = a * sin + b * cos;
    }
  }
}

void LayerNormRow(const LayerNorm& op, std::int64_t t, std::int64_t channels, float* row) {
  const DType dtype = op.x.dtype;
  LoadRow(RowAt(op.x, t, channels), dtype, channels, row);
  const float mean = Sum(row, channels) / static_cast<float>(channels);
  const float variance = SumOfSquares(row, mean, channels) / static_cast<float>(channels);
  const float inverse = 1.0f / std::sqrt(variance + op.eps);
  for (std::int64_t c = 0; c < channels; ++c) row[c] = (row[c] - mean) * inverse;
  if (!op.weight.empty()) {
    const float* weight = Floats(op.weight);
    const float* bias = Floats(op.bias);
    for (std::int64_t c = 0; c < channels; ++c) row[c] = row[c] * weight[c] + bias[c];
  }
  if (!op.scale.empty()) {
    const float* scale = Floats(op.scale);
    const float* shift = Floats(op.shift);
    if (dtype == DType::kBF16) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const float scaled = RoundToBFloat16(RoundToBFloat16(row[c]) * RoundToBFloat16(1.0f + scale[c]));
        row[c] = scaled + shift[c];
      }
    } else {
      for (std::int64_t c = 0; c < channels; ++c) row[c] = row[c] * (1.0f + scale[c]) + shift[c];
    }
  }
  StoreRow(row, op.out.dtype, channels, RowAt(op.out, t, channels));
}

void RmsNormRow(const RmsNorm& op, std::int64_t t, std::int64_t channels, float* row) {
  const DType dtype = op.x.dtype;
  LoadRow(RowAt(op.x, t, channels), dtype, channels, row);
  const float inverse =
      1.0f / std::sqrt(SumOfSquares(row, 0.0f, channels) / static_cast<float>(channels) + op.eps);
  const float* weight = Floats(op.weight);
  for (std::int64_t c = 0; c < channels; ++c) row[c] *= inverse;
  RoundRow(dtype, channels, row);
  for (std::int64_t c = 0; c < channels; ++c) row[c] *= weight[c];
  if (!op.rope_table.empty() && t < op.rope_table.shape[0]) {
    RoundRow(dtype, channels, row);
    const std::int64_t pairs = op.rope_table.shape[1];
    RotateRow(Floats(op.rope_table) + t * pairs * 2, pairs, op.heads, channels / op.heads, row);
  }
  StoreRow(row, dtype, channels, RowAt(op.out, t, channels));
}

void RopeRow(const Rope& op, std::int64_t t, std::int64_t channels, float* row) {
  LoadRow(RowAt(op.x, t, channels), op.x.dtype, channels, row);
  if (t < op.table.shape[0]) {
    const std::int64_t pairs = op.table.shape[1];
    RotateRow(Floats(op.table) + t * pairs * 2, pairs, op.heads, channels / op.heads, row);
  }
  StoreRow(row, op.x.dtype, channels, RowAt(op.out, t, channels));
}

void ChannelNormRow(const ChannelNorm& op, std::int64_t position, std::int64_t channels, float* row) {
  const DType dtype = op.x.dtype;
  LoadRow(RowAt(op.x, position, channels), dtype, channels, row);
  const float length = std::sqrt(SumOfSquares(row, 0.0f, channels));
  const float root = std::sqrt(static_cast<float>(channels));
  if (op.rule == ChannelNormRule::kWan) {
    const float factor = root / std::max(length, 1e-12f);
    const float* weight = Floats(op.weight);
    for (std::int64_t c = 0; c < channels; ++c) row[c] *= factor * weight[c];
  } else {
    const float divisor = 1e-4f + length / root;
    for (std::int64_t c = 0; c < channels; ++c) row[c] /= divisor;
  }
  if (op.activation == Activation::kSilu) {
    RoundRow(dtype, channels, row);
    for (std::int64_t c = 0; c < channels; ++c) row[c] = Silu(row[c]);
  }
  if (op.activation_scale != 1.0f) {
    RoundRow(dtype, channels, row);
    for (std::int64_t c = 0; c < channels; ++c) row[c] *= op.activation_scale;
  }
  StoreRow(row, dtype, channels, RowAt(op.out, position, channels));
}

// Runs row_function(op, t, channels, buffer) for every row, on all threads.
template <typename OpType, typename RowFunction>
void ForRows(const OpType& op, std::int64_t rows, std::int64_t channels, const RowFunction& row_function) {
  ParallelFor(rows, kRowsAtLeast, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> buffer(static_cast<std::size_t>(channels));
    float* row = buffer.data();
    RunVectorised([&] {
      for (std::int64_t t = begin; t < end; ++t) row_function(op, t, channels, row);
    });
  });
}

}  // namespace

void RunLayerNorm(const LayerNorm& op) {
  ForRows(op, op.x.shape[0], op.x.shape[1], LayerNormRow);
}
void RunRmsNorm(const RmsNorm& op) {
  ForRows(op, op.x.shape[0], op.x.shape[1], RmsNormRow);
}
void RunRope(const Rope& op) {
  ForRows(op, op.x.shape[0], op.x.shape[1], RopeRow);
}

void RunChannelNorm(const ChannelNorm& op) {
  const std::int64_t channels = op.x.shape[-1];
  if (channels == 0) return;
  ForRows(op, op.x.elements() / channels, channels, ChannelNormRow);
}

}  // namespace ovi::cpu
