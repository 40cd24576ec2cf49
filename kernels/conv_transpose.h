// Transposed 1-D convolution of a channels-last tensor: out[s*i + j - pad] += W[:, :, j]^T in[i], plus bias.
//
// Shapes: in (L, Ci); weight (Ci, Co, k), packed by Stream::Upload; bias (Co) f32; out ((L-1)*stride + k -
// 2*pad, Co). Dtypes: in, W, out all f32 or all bf16; accumulated in f32, rounded once. Cost: 2 L Ci Co k
// flop.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct ConvTransposeWeight {
  Tensor storage;  // (bytes) u8
  DType dtype = DType::kF32;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t kernel = 1;
};

struct ConvTranspose {
  Tensor in;
  const ConvTransposeWeight* weight = nullptr;
  Tensor bias;  // optional
  std::int64_t stride = 1;
  std::int64_t pad = 0;
  Tensor out;
};

absl::Status Validate(const ConvTranspose& op);

}  // namespace ovi
