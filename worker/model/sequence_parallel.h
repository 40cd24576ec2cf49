// How ranks share the tokens of one video in the transformer's blocks (Ulysses), and put together what each
// of them has of it.
//
// Each rank has a run of the video's tokens, from the patch embedding to the head. Only self-attention needs
// the others' tokens: there every rank exchanges its tokens' q, k and v of all heads for all tokens of its
// own heads, and the result back. The audio tower is computed on every rank, since it is weight bound; what
// it takes from the video is merged from the ranks' parts, in rank order, so that all of them go on with the
// same bits.
//
// L = tokens of this rank, T = of all, D = dim, La = audio tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/fusion_params.h"
#include "worker/model/runtime.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/shards.h"

namespace ovi {

// The ranks, for as long as the transformer lives.
struct SequenceParallel {
  Communicator* communicator = nullptr;  // of the ranks that share the tokens, in their order
  std::vector<int> shares;               // how fast each of them is (shards.h)
};

// Who has what of one clip.
struct SequenceShard {
  Communicator* communicator = nullptr;
  std::vector<ShardRange> tokens;  // of the video, by rank
  std::vector<ShardRange> heads;   // of self-attention
  // Audio tokens that a rank multiplies by the weights, where that is worth the exchanges; else empty.
  std::vector<ShardRange> audio_tokens;

  int rank() const { return communicator->rank(); }
  const ShardRange& own_tokens() const { return tokens[static_cast<std::size_t>(rank())]; }
  const ShardRange& own_audio_tokens() const { return audio_tokens[static_cast<std::size_t>(rank())]; }
};

// The audio tower's matrix products (all but the two output projections) are shared out where the audio has
// more than this part of the video's tokens: then computing them on every rank costs more than seven
// exchanges of La * D values a block. 157 audio tokens beside 15,004 of the smallest real preset are far
// below it, and a few of them are weight bound.
inline constexpr std::int64_t kAudioSharingFactor = 20;
// Of what is exchanged then: q, k, v of itself, q of cross attention, the video's keys and values of it, and
// the feed-forward's result.
inline constexpr std::int64_t kAudioShared = 7;

// INVALID_ARGUMENT where a rank would get no head.
absl::StatusOr<SequenceShard> ShardSequence(const SequenceParallel& ranks, std::int64_t video_tokens,
                                            std::int64_t audio_tokens, std::int64_t heads);

// fusion_block.h's AttendSelf over sharded tokens: h (L, D) in place. `rope` has the rows of the rank's own
// tokens. Head groups are exchanged one ahead of the attention.
absl::Status AttendSelfSharded(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                               const SequenceShard& shard, const Tensor& rope, const Tensor& h);

// out (La, D) += attention of q (La, D) over the keys of all ranks, of which `keys` of k and v (L, D) are
// here.
absl::Status AttendOverRanks(const Runtime& runtime, const TowerConfig& config, const SequenceShard& shard,
                             const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t keys,
                             float scale, const Tensor& out);

// Fills `rows` (T, C), of which each rank has its range, on every rank.
absl::Status GatherTokens(const Runtime& runtime, const SequenceShard& shard,
                          const std::vector<ShardRange>& ranges, const Tensor& rows);

}  // namespace ovi
