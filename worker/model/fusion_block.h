// The arithmetic of one tower's part of a fusion block, and of the head, over device tensors. Section 2 of
// the model specification (docs/model.md) has the formulas. L = tokens of this tower, T = tokens of the
// other, D = dim.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/model/fusion_params.h"
#include "worker/model/runtime.h"
#include "worker/model/sequence_parallel.h"

namespace ovi {

// Consecutive tokens that share a timestep. Image-to-video has two: the clean first frame, and the rest.
struct RowSegment {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

// Modulation vectors of a sequence: row s of `table` (S, vectors * D), f32, belongs to segments[s].
struct RowModulation {
  std::vector<RowSegment> segments;
  Tensor table;

  // Vector `index` of segment `s`, (D) f32.
  Tensor Vector(std::size_t s, std::int64_t index, std::int64_t dim) const;
};

// One tower's sequence on its way through the blocks.
struct TowerStream {
  const TowerConfig* config = nullptr;
  Tensor x;               // (L, D) residual stream, updated in place
  Tensor rope;            // (positions, pairs, 2) f32
  std::int64_t keys = 0;  // tokens before the padding
  // Of the video, where ranks share it: then x and rope are of this rank's tokens.
  const SequenceShard* shard = nullptr;
  // Of the audio, where ranks share its matrix products: every rank has all tokens, multiplies its own of
  // them (audio_tokens) and gets the others'.
  const SequenceShard* products = nullptr;
};

// 1 / sqrt(head_dim).
float AttentionScale(const TowerConfig& config);

// Keys and values, normalised, ready to be attended to.
struct KeyValue {
  Tensor k, v;  // (rows, D)
};

// Table of one block: rd(modulation + e0), e0 (S, vectors * D) in the compute dtype. Allocated in the arena.
absl::StatusOr<RowModulation> Modulate(const Runtime& runtime, const std::vector<RowSegment>& segments,
                                       const Tensor& e0, const Tensor& modulation);

// x += o(attention(x)) * gate, with the first three vectors of `mod`.
absl::Status SelfAttention(const Runtime& runtime, const BlockParams& block, const RowModulation& mod,
                           TowerStream& stream);

// Its parts. q, k (normalised, and rotated where `rope` is given) and v of `h` (L, D), to out (L, D):
absl::Status ProjectSelfQuery(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                              const Tensor& h, const Tensor& rope, const Tensor& out);
absl::Status ProjectSelfKey(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                            const Tensor& h, const Tensor& rope, const Tensor& out);
absl::Status ProjectSelfValue(const Runtime& runtime, const BlockParams& block, const Tensor& h,
                              const Tensor& out);
// All three.
struct SelfQkv {
  Tensor q, k, v;
};
absl::StatusOr<SelfQkv> ProjectSelf(const Runtime& runtime, const BlockParams& block,
                                    const TowerConfig& config, const Tensor& h, const Tensor& rope,
                                    const SequenceShard* products = nullptr);
// The attention of `h` (L, D) over itself, before the output projection, in place. Rows from `keys` on are
// padding.
absl::Status AttendSelf(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                        const Tensor& rope, std::int64_t keys, const Tensor& h,
                        const SequenceShard* products = nullptr);

// Keys and values that `block`'s cross attention takes from the other tower's stream: (T, D), keys rotated.
absl::StatusOr<KeyValue> FusionKeyValue(const Runtime& runtime, const BlockParams& block,
                                        const TowerStream& other);
// The same from embedded text (text_len, D): no rotation. Constant for a prompt.
absl::StatusOr<KeyValue> TextKeyValue(const Runtime& runtime, const BlockParams& block,
                                      const TowerConfig& config, const Tensor& embedded);

// What cross attention takes from the other tower: `keys` rows of keys and values. Where ranks share that
// tower, they are those of this rank's tokens, and `shard` says who has the rest.
struct OtherTower {
  KeyValue kv;
  std::int64_t keys = 0;
  const SequenceShard* shard = nullptr;
};

// attn(q, text) + attn(rope(q), other) of u (L, D), before the output projection. Allocated in the arena.
absl::StatusOr<Tensor> CrossAttention(const Runtime& runtime, const BlockParams& block,
                                      const TowerStream& stream, const Tensor& u, const KeyValue& text,
                                      const OtherTower& other);

// The rest of the block: x += o(cross attention), x += ffn(x) * gate, with the last three vectors of `mod`.
absl::Status CrossAndFeedForward(const Runtime& runtime, const BlockParams& block, const RowModulation& mod,
                                 const KeyValue& text, const OtherTower& other, TowerStream& stream);

// One tower's side of a block pair: its parameters, the time embedding of its segments (S, 6 D), its text,
// its stream.
struct TowerStep {
  const BlockParams& block;
  const std::vector<RowSegment>& segments;
  const Tensor& e0;
  const KeyValue& text;
  TowerStream& stream;
};

// Moves both streams through one block pair, in place.
absl::Status RunBlockPair(const Runtime& runtime, const TowerStep& video, const TowerStep& audio);

// Linear(LN(x) * (1 + scale) + shift) with mod of two vectors (shift, scale). (L, out_dim * patch elements).
absl::StatusOr<Tensor> Head(const Runtime& runtime, const TowerParams& tower, const RowModulation& mod,
                            const TowerStream& stream);

// Room for (rows, columns) in the compute dtype of `like`.
absl::StatusOr<Tensor> AllocateLike(const Runtime& runtime, const Tensor& like, std::int64_t rows,
                                    std::int64_t columns, std::string_view what);

}  // namespace ovi
