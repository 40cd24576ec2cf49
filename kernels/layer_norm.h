// LayerNorm over channels, with affine parameters or adaptive modulation.
//
//   n   = rd((x - mean) / sqrt(var + eps) [* weight + bias])      statistics in f32, biased variance
//   out = n                                  without scale
//   out = rd(rd(n * rd(1 + scale)) + shift)  with scale and shift
//
// Shapes: x, out (T, C) f32 or bf16; weight, bias, scale, shift (C) f32. rd() rounds to out's dtype.
// Statistics take two passes: E[x^2] - E[x]^2 cancels once |mean| >> std. Cost: one read and one write of (T,
// C).
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct LayerNorm {
  Tensor x;
  Tensor weight, bias;  // optional, together
  Tensor scale, shift;  // optional, together
  float eps = 1e-6f;
  Tensor out;
};

absl::Status Validate(const LayerNorm& op);

}  // namespace ovi
