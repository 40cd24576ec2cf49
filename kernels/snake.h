// BigVGAN's anti-aliased activation: upsample x2, x + sin^2(alpha x) * inv_beta, downsample x2, in one pass.
//
//   u[n]   = 2 * sum over the transposed filter of the edge-replicated (5+5) input, 15 cropped at each end
//   (2L values) s      = u + sin^2(u * alpha) * inv_beta out[n] = sum_j filter_down[j] * s[clamp(2n + j - 5)]
//   edges replicated 5 left, 6 right
//
// Shapes: x, out (L, C) f32 or bf16; alpha, inv_beta (C) f32, already out of their logarithms (exp(alpha),
// 1 / (exp(beta) + 1e-9)); filter_up, filter_down (12) f32. f32 inside, one rounding. out may not be x.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct AntiAliasedSnake {
  Tensor x;
  Tensor alpha, inv_beta;
  Tensor filter_up, filter_down;
  Tensor out;
};

absl::Status Validate(const AntiAliasedSnake& op);

}  // namespace ovi
