// Convolution over (time, row, column) of a channels-last tensor; 2-D and 1-D are the cases with extents
// of 1.
//
//   out = rd(conv(in, W) + bias + residual)     zero padding, all added in f32
//   out = rd(act(out))                          without residual
//
// Shapes: in (T, H, W, Ci); weight (Co, Ci, kt, kh, kw), packed by Stream::Upload; bias (Co) f32; out,
// residual (T', H', W', Co).
//         out extent = (in + pad_before + pad_after - dilation*(k-1) - 1) / stride + 1 per axis.
// Axes of kernel extent 1 in front of the first wider one (but for the last axis) are a batch: stride 1, no
// padding there. Dtypes: in, W, out all f32 or all bf16. out may be residual. Cost: 2 Ci Co kt kh kw T' H' W'
// flop.
//
// f32: a value's bits depend on what it is computed from alone, not on the rows and frames computed with it,
// nor on whether zeros are padded or read: ranks that compute some rows each, and all they read of the
// others' (worker/model/row_sharding.h), make the picture that one rank makes.
#pragma once

#include <array>

#include "absl/status/status.h"
#include "kernels/gemm.h"
#include "kernels/tensor.h"

namespace ovi {

using Extent3 = std::array<std::int64_t, 3>;  // (time, row, column)

// A convolution kernel in the backend's own layout.
struct ConvWeight {
  Tensor storage;  // (bytes) u8
  DType dtype = DType::kF32;
  std::int64_t out_channels = 0;
  std::int64_t in_channels = 0;
  Extent3 kernel{1, 1, 1};
};

struct Conv {
  Tensor in;
  const ConvWeight* weight = nullptr;
  Tensor bias;  // optional
  Extent3 stride{1, 1, 1};
  Extent3 pad_before{0, 0, 0};
  Extent3 pad_after{0, 0, 0};
  Extent3 dilation{1, 1, 1};
  Activation activation = Activation::kNone;
  Tensor residual;  // optional
  Tensor out;
};

absl::Status Validate(const Conv& op);
// How many of the axes, from the last, a kernel of this extent moves along: 1, 2 or 3. The others are its
// batch.
int ConvSpatialAxes(const Extent3& kernel);
// The extents (T', H', W') that `op` writes.
Extent3 ConvOutExtent(const Conv& op);

}  // namespace ovi
