// Rotary position embedding of adjacent pairs: (a, b) -> (a cos - b sin, a sin + b cos) in every head.
//
// Shapes: x, out (T, heads*D) f32 or bf16; table (positions, P, 2) f32 = (cos, sin), P <= D/2.
// Row t turns by table row t. Pairs from P on and rows from `positions` on (padding) pass unchanged. out may
// be x. Cost: one read and one write of (T, C), and of the table once.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct Rope {
  Tensor x;
  Tensor table;
  std::int64_t heads = 1;
  Tensor out;
};

absl::Status Validate(const Rope& op);

}  // namespace ovi
