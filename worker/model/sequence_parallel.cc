#include "worker/model/sequence_parallel.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/status.h"
#include "worker/model/fusion_block.h"

namespace ovi {
namespace {

// More groups hide more of the exchange and make its messages smaller; with two, half of it is hidden.
constexpr int kHeadGroups = 2;

// A rank's heads in one group: the columns it has of a token, and where they lie in what passes between two
// ranks.
struct HeadBand {
  std::int64_t begin = 0;  // columns of D
  std::int64_t columns = 0;
  std::int64_t place = 0;  // of the band in a rank's packed tokens, in elements
};

// bands[group][rank], for `rows` tokens: a rank's packed tokens hold one band after the other, each dense.
using Bands = std::array<std::vector<HeadBand>, kHeadGroups>;

Bands BandsOf(const SequenceShard& shard, std::int64_t head_dim, std::int64_t rows) {
  Bands bands;
  std::int64_t place = 0;
  for (int group = 0; group < kHeadGroups; ++group) {
    for (const ShardRange& heads : shard.heads) {
      const ShardRange part = Shard(heads.size(), kHeadGroups)[static_cast<std::size_t>(group)];
      const HeadBand band{
          .begin = (heads.begin + part.begin) * head_dim, .columns = part.size() * head_dim, .place = place};
      bands[static_cast<std::size_t>(group)].push_back(band);
      place += rows * band.columns;
    }
  }
  return bands;
}

Tensor BandIn(const Tensor& packed, const HeadBand& band, std::int64_t rows) {
  return packed.Reshaped({packed.elements()})
      .Slice(band.place, rows * band.columns)
      .Reshaped({rows, band.columns});
}

// Self-attention of one block on its way through the ranks.
class ShardedAttention {
 public:
  ShardedAttention(const Runtime& runtime, const TowerConfig& config, const SequenceShard& shard,
                   std::int64_t rows)
      : runtime_(runtime),
        config_(config),
        shard_(shard),
        rows_(rows),
        total_(shard.tokens.back().end),
        bands_(BandsOf(shard, config.head_dim(), rows)) {}

  // Memory for what comes and goes, of h's dtype. Lives in the caller's ArenaScope.
  absl::Status Allocate(const Tensor& like) {
    const ArenaUse use(runtime_.arena, MemoryUse::kCommunication);
    for (Tensor& packed : packed_) {
      OVI_ASSIGN_OR_RETURN(packed,
                           AllocateLike(runtime_, like, rows_, config_.dim, "tokens for other ranks"));
    }
    for (int group = 0; group < kHeadGroups; ++group) {
      for (Tensor& whole : gathered_[static_cast<std::size_t>(group)]) {
        OVI_ASSIGN_OR_RETURN(whole,
                             AllocateLike(runtime_, like, total_, Own(group).columns, "tokens of all ranks"));
      }
    }
    return absl::OkStatus();
  }

  // Takes q, k or v (L, D): `part` 0, 1 or 2.
  void Pack(std::size_t part, const Tensor& projected) {
    for (const std::vector<HeadBand>& group : bands_) {
      for (const HeadBand& band : group) {
        runtime_.stream.Run(CopyColumns{.in = projected,
                                        .in_begin = band.begin,
                                        .columns = band.columns,
                                        .out = BandIn(packed_[part], band, rows_)});
      }
    }
  }

  // Leaves the attention's result in h (L, D).
  absl::Status Run(const Tensor& h) {
    std::array<Pending, kHeadGroups> there;
    std::array<Pending, kHeadGroups> back;
    for (int group = 0; group < kHeadGroups; ++group)
      there[static_cast<std::size_t>(group)] = SendTokens(group);
    for (int group = 0; group < kHeadGroups; ++group) {
      OVI_RETURN_IF_ERROR(there[static_cast<std::size_t>(group)].Wait());
      Attend(group);
      back[static_cast<std::size_t>(group)] = SendResults(group);
      shard_.communicator->Advance();
    }
    for (Pending& pending : back) OVI_RETURN_IF_ERROR(pending.Wait());
    for (const std::vector<HeadBand>& group : bands_) {
      for (const HeadBand& band : group) {
        runtime_.stream.Run(CopyColumns{.in = BandIn(packed_[0], band, rows_),
                                        .columns = band.columns,
                                        .out = h,
                                        .out_begin = band.begin});
      }
    }
    return absl::OkStatus();
  }

 private:
  const HeadBand& Own(int group) const {
    return bands_[static_cast<std::size_t>(group)][static_cast<std::size_t>(shard_.rank())];
  }

  // The band of each rank's heads goes to that rank; its tokens of our heads come back.
  Pending SendTokens(int group) {
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    for (int rank = 0; rank < shard_.communicator->size(); ++rank) {
      const auto at = static_cast<std::size_t>(rank);
      const ShardRange& tokens = shard_.tokens[at];
      for (std::size_t part = 0; part < 3; ++part) {
        const Tensor& whole = gathered_[static_cast<std::size_t>(group)][part];
        send.push_back(
            {rank, BytesOf(BandIn(packed_[part], bands_[static_cast<std::size_t>(group)][at], rows_))});
        receive.push_back({rank, BytesOf(whole.Slice(tokens.begin, tokens.size()))});
      }
    }
    return shard_.communicator->AllToAllV(&runtime_.stream, send, receive);
  }

  // The result takes q's place.
  void Attend(int group) {
    const std::array<Tensor, 3>& qkv = gathered_[static_cast<std::size_t>(group)];
    const std::int64_t heads = Own(group).columns / config_.head_dim();
    if (heads == 0) return;
    runtime_.stream.Run(Attention{.q = qkv[0],
                                  .k = qkv[1],
                                  .v = qkv[2],
                                  .heads = heads,
                                  .keys = total_,
                                  .scale = AttentionScale(config_),
                                  .out = qkv[0]});
  }

  // Every rank's tokens go back to it; what comes takes the place of the q that was sent.
  Pending SendResults(int group) {
    std::vector<Outgoing> send;
    std::vector<Incoming> receive;
    const Tensor& result = gathered_[static_cast<std::size_t>(group)][0];
    for (int rank = 0; rank < shard_.communicator->size(); ++rank) {
      const auto at = static_cast<std::size_t>(rank);
      const ShardRange& tokens = shard_.tokens[at];
      send.push_back({rank, BytesOf(result.Slice(tokens.begin, tokens.size()))});
      receive.push_back(
          {rank, BytesOf(BandIn(packed_[0], bands_[static_cast<std::size_t>(group)][at], rows_))});
    }
    return shard_.communicator->AllToAllV(&runtime_.stream, send, receive);
  }

  const Runtime& runtime_;
  const TowerConfig& config_;
  const SequenceShard& shard_;
  const std::int64_t rows_;
  const std::int64_t total_;
  const Bands bands_;
  std::array<Tensor, 3> packed_;                             // q, k, v of our tokens, in bands (L * D)
  std::array<std::array<Tensor, 3>, kHeadGroups> gathered_;  // of all tokens, our heads of a group
};

}  // namespace

absl::StatusOr<SequenceShard> ShardSequence(const SequenceParallel& ranks, std::int64_t video_tokens,
                                            std::int64_t audio_tokens, std::int64_t heads) {
  OVI_CHECK(ranks.communicator != nullptr &&
            ranks.shares.size() == static_cast<std::size_t>(ranks.communicator->size()));
  SequenceShard shard{.communicator = ranks.communicator, .tokens = Shard(video_tokens, ranks.shares)};
  OVI_ASSIGN_OR_RETURN(shard.heads, ShardHeads(static_cast<int>(heads), ranks.shares));
  if (audio_tokens * kAudioSharingFactor > video_tokens)
    shard.audio_tokens = Shard(audio_tokens, ranks.shares);
  return shard;
}

absl::Status AttendSelfSharded(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                               const SequenceShard& shard, const Tensor& rope, const Tensor& h) {
  ArenaScope scope(runtime.arena);
  const std::int64_t rows = h.shape[0];
  ShardedAttention attention(runtime, config, shard, rows);
  OVI_RETURN_IF_ERROR(attention.Allocate(h));
  {
    ArenaScope projection(runtime.arena);
    OVI_ASSIGN_OR_RETURN(const Tensor one,
                         AllocateLike(runtime, h, rows, config.dim, "self-attention projection"));
    OVI_RETURN_IF_ERROR(ProjectSelfQuery(runtime, block, config, h, rope, one));
    attention.Pack(0, one);
    OVI_RETURN_IF_ERROR(ProjectSelfKey(runtime, block, config, h, rope, one));
    attention.Pack(1, one);
    OVI_RETURN_IF_ERROR(ProjectSelfValue(runtime, block, h, one));
    attention.Pack(2, one);
  }
  return attention.Run(h);
}

absl::Status AttendOverRanks(const Runtime& runtime, const TowerConfig& config, const SequenceShard& shard,
                             const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t keys,
                             float scale, const Tensor& out) {
  ArenaScope scope(runtime.arena);
  const auto ranks = static_cast<std::int64_t>(shard.communicator->size());
  const std::int64_t rows = q.shape[0];
  const ArenaUse use(runtime.arena, MemoryUse::kCommunication);
  OVI_ASSIGN_OR_RETURN(const Tensor parts, runtime.arena.Allocate(DType::kF32, {ranks, rows, config.dim},
                                                                  "attention of all ranks"));
  OVI_ASSIGN_OR_RETURN(const Tensor lse, runtime.arena.Allocate(DType::kF32, {ranks, config.heads, rows},
                                                                "log-sum-exp of all ranks"));
  const std::int64_t own = shard.rank();
  runtime.stream.Run(Attention{.q = q,
                               .k = k,
                               .v = v,
                               .heads = config.heads,
                               .keys = keys,
                               .scale = scale,
                               .out = parts.Slice(own, 1).Reshaped(q.shape),
                               .lse = lse.Slice(own, 1).Reshaped({config.heads, rows})});
  for (const Tensor& gathered : {parts, lse}) {
    std::vector<std::span<std::byte>> places;
    for (std::int64_t rank = 0; rank < ranks; ++rank) places.push_back(BytesOf(gathered.Slice(rank, 1)));
    Pending pending =
        shard.communicator->AllGatherV(&runtime.stream, places[static_cast<std::size_t>(own)], places);
    OVI_RETURN_IF_ERROR(pending.Wait());
  }
  runtime.stream.Run(MergeAttention{.parts = parts, .lse = lse, .accumulate = true, .out = out});
  return absl::OkStatus();
}

absl::Status GatherTokens(const Runtime& runtime, const SequenceShard& shard,
                          const std::vector<ShardRange>& ranges, const Tensor& rows) {
  std::vector<std::span<std::byte>> places;
  for (const ShardRange& range : ranges) places.push_back(BytesOf(rows.Slice(range.begin, range.size())));
  return shard.communicator
      ->AllGatherV(&runtime.stream, places[static_cast<std::size_t>(shard.rank())], places)
      .Wait();
}

}  // namespace ovi
