// Merges attention over parts of the keys into attention over all of them, by the log-sum-exp of each part:
//
//   m = max_p lse_p;  w_p = exp(lse_p - m);  y = sum_p w_p part_p / sum_p w_p     per query and head, in f32
//   out = rd(y), or with accumulate rd(out + rd(y))
//
// Parts are added in their order, so every rank that merges the same parts gets the same bits. A part without
// keys has lse = -inf and does not count; where all are, y = 0.
//
// Shapes: parts (P, T, H*D) f32, as Attention leaves them; lse (P, H, T) f32; out (T, H*D) f32 or bf16. Cost:
// P reads and a write of out.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct MergeAttention {
  Tensor parts;
  Tensor lse;
  bool accumulate = false;
  Tensor out;
};

absl::Status Validate(const MergeAttention& op);

}  // namespace ovi
