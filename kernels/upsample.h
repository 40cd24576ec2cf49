// Nearest-neighbour enlargement: out[f, y, x, c] = in[f, y / fy, x / fx, c].
//
// Shapes: in (F, H, W, C), out (F, fy*H, fx*W, C), f32 or bf16 alike. The factors follow from the shapes.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct Upsample {
  Tensor in;
  Tensor out;
};

absl::Status Validate(const Upsample& op);

}  // namespace ovi
