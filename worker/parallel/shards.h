// How tokens, rows and heads are divided among ranks, and what the division makes them send. Pure.
//
// A share says how fast a rank is beside the others: 2, 1, 1 for a card and two of half its speed. Only the
// ratio counts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

// Items begin..end-1.
struct ShardRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  bool operator==(const ShardRange&) const = default;
};

inline constexpr int kShareMax = 1'000'000;

// One range a rank, in rank order, without gaps: 0..total-1 together. In proportion to the shares by largest
// remainder (of equal remainders the lower rank's first), so every rank is within one item of its exact part,
// and equal shares differ by at most one item: nothing is padded. `total` is at most 2^40; shares are
// 1..kShareMax, at least one.
std::vector<ShardRange> Shard(std::int64_t total, std::span<const int> shares);
// With equal shares.
std::vector<ShardRange> Shard(std::int64_t total, int ranks);

// Attention heads: as Shard, but every rank has at least one, and equal shares give equal parts.
// INVALID_ARGUMENT says which of the two cannot be had.
absl::StatusOr<std::vector<ShardRange>> ShardHeads(int heads, std::span<const int> shares);

// Self-attention over sharded tokens, where each rank attends for its own heads: what is exchanged in a
// block.
struct VideoExchange {
  std::int64_t head_dim = 0;
  std::int64_t element_bytes = 0;
  std::vector<ShardRange> tokens;  // of each rank
  std::vector<ShardRange> heads;
};

// What rank `rank` sends to the others in one block and pass: q, k and v of its tokens for the others' heads,
// and the attention's output of its heads for the others' tokens. To the byte what the communicator counts.
std::int64_t VideoExchangeBytesPerBlock(const VideoExchange& exchange, int rank);

// Whose rows lie next to a rank's, above (before) and below: the nearest ranks that have any. None at the
// picture's edges, and none for a rank without rows.
struct RowNeighbours {
  std::optional<int> above;
  std::optional<int> below;

  bool operator==(const RowNeighbours&) const = default;
};
RowNeighbours NeighboursOf(std::span<const ShardRange> rows, int rank);

// What a rank passes to the ranks above and below it, to the byte what the communicator counts.
struct HaloBytes {
  std::int64_t above = 0;
  std::int64_t below = 0;
};
// Of `bytes`, which a rank with neighbours on both sides sends, what `rank` sends.
std::int64_t HaloBytesSent(const HaloBytes& bytes, std::span<const ShardRange> rows, int rank);

// What the communicator counts for one operation on a rank of `ranks`. Gather: `own_bytes` is the rank's
// part, and the root sends none. All-gather: `own_bytes` is the rank's
// part. Broadcast: `bytes` for the root, 0 for the others.
constexpr std::int64_t GatherBytesSent(std::int64_t own_bytes, bool is_root) {
  return is_root ? 0 : own_bytes;
}
constexpr std::int64_t AllGatherBytesSent(std::int64_t own_bytes, int ranks) {
  return own_bytes * (ranks - 1);
}
constexpr std::int64_t BroadcastBytesSent(std::int64_t bytes, int ranks, bool is_root) {
  return is_root ? bytes * (ranks - 1) : 0;
}

}  // namespace ovi
