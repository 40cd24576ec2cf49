// Normalisation of each position by its length over channels, then an activation: the norm of both
// autoencoders.
//
//   kWan:     y = x / max(||x||, 1e-12) * sqrt(C) * weight
//   kMagnitude: y = x / (1e-4 + ||x|| / sqrt(C))
//   out = rd(act(rd(y))) * activation_scale, one more rd() when the scale is not 1
//
// Shapes: x, out (positions, C) f32 or bf16; weight (C) f32, kWan only. out may be x. activation: kNone or
// kSilu.
#pragma once

#include "absl/status/status.h"
#include "kernels/gemm.h"
#include "kernels/tensor.h"

namespace ovi {

enum class ChannelNormRule { kWan, kMagnitude };

struct ChannelNorm {
  Tensor x;
  ChannelNormRule rule = ChannelNormRule::kWan;
  Tensor weight;
  Activation activation = Activation::kNone;
  float activation_scale = 1.0f;
  Tensor out;
};

absl::Status Validate(const ChannelNorm& op);

}  // namespace ovi
