// Symmetric int8 with one scale a row: scale = max|x| / 127, q = round_half_even(x / scale) in -127..127.
//
// Shapes: x (T, C) f32 or bf16; q (T, C) i8; scale (T) f32. A row of zeros has scale 0 and q 0.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct QuantiseRows {
  Tensor x;
  Tensor q;
  Tensor scale;
};

absl::Status Validate(const QuantiseRows& op);

}  // namespace ovi
