// RMSNorm over channels and, for q and k of an Ovi block, the rotation that follows it.
//
//   n   = rd(x / sqrt(mean(x^2) + eps))     statistics in f32
//   y   = rd(n * weight)
//   out = rope(y) as in rope.h              when rope_table is given
//
// Shapes: x, out (T, C) f32 or bf16; weight (C) f32; rope_table (positions, P, 2) f32, heads divides C. out
// may be x. Cost: one read and one write of (T, C).
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct RmsNorm {
  Tensor x;
  Tensor weight;
  float eps = 1e-6f;
  Tensor rope_table;  // optional
  std::int64_t heads = 1;
  Tensor out;
};

absl::Status Validate(const RmsNorm& op);

}  // namespace ovi
