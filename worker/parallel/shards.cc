#include "worker/parallel/shards.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace ovi {

std::vector<ShardRange> Shard(std::int64_t total, std::span<const int> shares) {
  OVI_CHECK(total >= 0 && total <= std::int64_t{1} << 40 && !shares.empty());
  for (const int share : shares) OVI_CHECK(share >= 1 && share <= kShareMax);
  // Products stay below 2^60; the sum is of far fewer ranks than 2^20.
  const std::int64_t sum = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});

  std::vector<std::int64_t> sizes(shares.size());
  std::vector<std::int64_t> remainders(shares.size());
  std::int64_t left = total;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    sizes[i] = total * shares[i] / sum;
    remainders[i] = total * shares[i] % sum;
    left -= sizes[i];
  }
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t i = 0; i < static_cast<std::size_t>(left); ++i) ++sizes[order[i]];

  std::vector<ShardRange> ranges;
  std::int64_t begin = 0;
  for (const std::int64_t size : sizes) {
    ranges.push_back({begin, begin + size});
    begin += size;
  }
  return ranges;
}

std::vector<ShardRange> Shard(std::int64_t total, int ranks) {
  return Shard(total, std::vector<int>(static_cast<std::size_t>(ranks), 1));
}

absl::StatusOr<std::vector<ShardRange>> ShardHeads(int heads, std::span<const int> shares) {
  std::vector<ShardRange> ranges = Shard(heads, shares);
  const bool equal = std::all_of(shares.begin(), shares.end(), [&](int share) { return share == shares[0]; });
  if (equal && heads % static_cast<int>(shares.size()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(heads, " heads cannot be divided equally among ", shares.size(), " ranks"));
  }
  for (std::size_t rank = 0; rank < ranges.size(); ++rank) {
    if (ranges[rank].size() > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(heads, " heads divided as ", absl::StrJoin(shares, ":"), " leave none for rank ", rank));
  }
  return ranges;
}

std::int64_t VideoExchangeBytesPerBlock(const VideoExchange& exchange, int rank) {
  OVI_CHECK(exchange.tokens.size() == exchange.heads.size());
  const std::int64_t tokens = exchange.tokens.at(static_cast<std::size_t>(rank)).size();
  const std::int64_t heads = exchange.heads.at(static_cast<std::size_t>(rank)).size();
  const std::int64_t tokens_of_others = exchange.tokens.back().end - tokens;
  const std::int64_t heads_of_others = exchange.heads.back().end - heads;
  return (3 * tokens * heads_of_others + tokens_of_others * heads) * exchange.head_dim *
         exchange.element_bytes;
}

RowNeighbours NeighboursOf(std::span<const ShardRange> rows, int rank) {
  const auto self = static_cast<std::size_t>(rank);
  OVI_CHECK(rank >= 0 && self < rows.size());
  RowNeighbours neighbours;
  if (rows[self].size() == 0) return neighbours;
  for (std::size_t other = 0; other < rows.size(); ++other) {
    if (other == self || rows[other].size() == 0) continue;
    if (rows[other].end == rows[self].begin) neighbours.above = static_cast<int>(other);
    if (rows[other].begin == rows[self].end) neighbours.below = static_cast<int>(other);
  }
  return neighbours;
}

std::int64_t HaloBytesSent(const HaloBytes& bytes, std::span<const ShardRange> rows, int rank) {
  const RowNeighbours neighbours = NeighboursOf(rows, rank);
  return (neighbours.above ? bytes.above : 0) + (neighbours.below ? bytes.below : 0);
}

}  // namespace ovi
