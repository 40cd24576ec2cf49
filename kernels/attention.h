// Multi-head attention without a mask: out = softmax(scale * q k^T + bias) v, head by head, softmax in f32.
//
// Shapes: q, out (Tq, H*D); k, v (Tk, H*D); rel_bias (H, Tq + Tk - 1) f32: the score of query i and key j
// gets
//         rel_bias[h][j - i + Tq - 1]; lse (H, Tq) f32 = ln sum_j exp(score), for merging partial results.
// Only the first `keys` rows of k and v take part: the rest is padding. keys = 0 gives out = 0 and lse =
// -inf. Dtypes: q, k, v all f32 or all bf16; out like them, or f32 (a part that is to be merged with others).
// In bf16 the probabilities are rounded to bf16 before they meet v. round_scores: T5 as executed, which
// rounds q k^T, then the sum with the bias, then the probabilities to bf16. accumulate: out = rd(out +
// rd(attention)), the sum of text and fusion attention of an Ovi block. q may be out. Cost: 4 Tq Tk H D flop;
// k and v are read Tq / (rows a block) times from cache.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct Attention {
  Tensor q, k, v;
  std::int64_t heads = 1;
  std::int64_t keys = 0;
  float scale = 1.0f;
  Tensor rel_bias;  // optional
  bool round_scores = false;
  bool accumulate = false;
  Tensor out;
  Tensor lse;  // optional
};

absl::Status Validate(const Attention& op);

}  // namespace ovi
