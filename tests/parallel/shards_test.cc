#include "worker/parallel/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_join.h"

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::int64_t> Sizes(const std::vector<ShardRange>& ranges) {
  std::vector<std::int64_t> sizes;
  for (const ShardRange& range : ranges) sizes.push_back(range.size());
  return sizes;
}

std::vector<int> Equal(int ranks) {
  return std::vector<int>(static_cast<std::size_t>(ranks), 1);
}

void ExpectWithoutGaps(const std::vector<ShardRange>& ranges, std::int64_t total) {
  std::int64_t at = 0;
  for (const ShardRange& range : ranges) {
    EXPECT_EQ(range.begin, at);
    EXPECT_GE(range.size(), 0);
    at = range.end;
  }
  EXPECT_EQ(at, total);
}

TEST(Shard, EqualSharesDifferByOneAtMost) {
  for (int ranks = 1; ranks <= 24; ++ranks) {
    for (const std::int64_t total : {0, 1, 2, 7, 23, 24, 25, 1125, 4050, 15004, 54900}) {
      SCOPED_TRACE(testing::Message() << total << " over " << ranks);
      const std::vector<ShardRange> ranges = Shard(total, ranks);
      ASSERT_EQ(ranges.size(), static_cast<std::size_t>(ranks));
      ExpectWithoutGaps(ranges, total);
      const auto [low, high] = std::ranges::minmax(Sizes(ranges));
      EXPECT_LE(high - low, 1);
      EXPECT_TRUE(std::ranges::is_sorted(Sizes(ranges), std::greater<>()));
    }
  }
}

TEST(Shard, UnequalSharesAreWithinOneOfTheirExactPart) {
  const std::vector<std::vector<int>> cases = {
      {2, 1, 1},   {1, 2}, {5, 3}, {1, 1000}, {1000, 1}, {7, 1, 3, 3, 2}, {kShareMax, 1, kShareMax},
      {3, 3, 3, 2}};
  for (const std::vector<int>& shares : cases) {
    for (const std::int64_t total :
         {std::int64_t{0}, std::int64_t{1}, std::int64_t{100}, std::int64_t{15004}, std::int64_t{1} << 40}) {
      SCOPED_TRACE(testing::Message() << total << " over " << absl::StrJoin(shares, ":"));
      const std::vector<ShardRange> ranges = Shard(total, shares);
      ExpectWithoutGaps(ranges, total);
      const long double sum = std::accumulate(shares.begin(), shares.end(), 0.0L);
      for (std::size_t i = 0; i < shares.size(); ++i) {
        const long double exact = static_cast<long double>(total) * shares[i] / sum;
        EXPECT_LT(std::abs(static_cast<long double>(ranges[i].size()) - exact), 1.0L);
      }
    }
  }
}

TEST(Shard, TheLargestRemaindersGetWhatIsLeft) {
  EXPECT_THAT(Sizes(Shard(10, std::vector<int>{1, 1, 1})), ElementsAre(4, 3, 3));
  EXPECT_THAT(Sizes(Shard(10, std::vector<int>{2, 1, 1})), ElementsAre(5, 3, 2));  // 5, 2.5, 2.5
  EXPECT_THAT(Sizes(Shard(11, std::vector<int>{1, 2, 3})), ElementsAre(2, 4, 5));  // 1.83, 3.67, 5.5
  EXPECT_THAT(Sizes(Shard(2, std::vector<int>{1, 9})), ElementsAre(0, 2));
}

TEST(Shard, OnlyTheRatioCounts) {
  for (const std::int64_t total : {1, 17, 1125, 15004}) {
    EXPECT_EQ(Shard(total, std::vector<int>{4, 2, 2}), Shard(total, std::vector<int>{2, 1, 1}));
    EXPECT_EQ(Shard(total, std::vector<int>{7, 7, 7}), Shard(total, 3));
  }
}

TEST(ShardHeads, EqualSharesTakeEqualParts) {
  for (const int heads : {8, 24}) {
    for (int ranks = 1; ranks <= 24; ++ranks) {
      SCOPED_TRACE(testing::Message() << heads << " heads over " << ranks);
      const absl::StatusOr<std::vector<ShardRange>> ranges = ShardHeads(heads, Equal(ranks));
      EXPECT_EQ(ranges.ok(), heads % ranks == 0);
      if (!ranges.ok()) {
        EXPECT_EQ(ranges.status().code(), absl::StatusCode::kInvalidArgument);
        continue;
      }
      ExpectWithoutGaps(*ranges, heads);
      for (const ShardRange& range : *ranges) EXPECT_EQ(range.size(), heads / ranks);
    }
  }
}

TEST(ShardHeads, UnequalSharesTakeTheirPartsButNeverNothing) {
  EXPECT_THAT(Sizes(*ShardHeads(24, std::vector<int>{2, 1, 1})), ElementsAre(12, 6, 6));
  EXPECT_THAT(Sizes(*ShardHeads(8, std::vector<int>{2, 2, 1})), ElementsAre(3, 3, 2));
  const absl::StatusOr<std::vector<ShardRange>> none = ShardHeads(8, std::vector<int>{20, 1, 1});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()),
              HasSubstr("8 heads divided as 20:1:1 leave none for rank 2"));
}

VideoExchange ExchangeOf(std::int64_t tokens, int heads, const std::vector<int>& shares) {
  return {.head_dim = 128,
          .element_bytes = 2,
          .tokens = Shard(tokens, shares),
          .heads = *ShardHeads(heads, shares)};
}

TEST(VideoExchangeBytes, AreThoseOfEveryPairOfRanks) {
  const std::vector<std::vector<int>> cases = {{1}, {1, 1}, {1, 1, 1}, {2, 1, 1}, {1, 1, 1, 1, 1, 1}, {5, 3}};
  for (const std::vector<int>& shares : cases) {
    const VideoExchange exchange = ExchangeOf(1001, 24, shares);
    for (std::size_t rank = 0; rank < shares.size(); ++rank) {
      std::int64_t bytes = 0;
      for (std::size_t other = 0; other < shares.size(); ++other) {
        if (other == rank) continue;
        bytes += 3 * exchange.tokens[rank].size() * exchange.heads[other].size() * 128 * 2;
        bytes += exchange.tokens[other].size() * exchange.heads[rank].size() * 128 * 2;
      }
      EXPECT_EQ(VideoExchangeBytesPerBlock(exchange, static_cast<int>(rank)), bytes);
    }
  }
}

// A step of the 720 model: 30 blocks of the positive pass, 29 of the negative one.
TEST(VideoExchangeBytes, AreHalfOfTheOriginalsAt720) {
  const VideoExchange exchange = ExchangeOf(15004, 24, Equal(4));
  for (int rank = 0; rank < 4; ++rank) {
    const std::int64_t step = VideoExchangeBytesPerBlock(exchange, rank) * 59;
    EXPECT_EQ(step, std::int64_t{59} * 3751 * 18 * 128 * 2 * 4);
    EXPECT_LE(step, 4'200'000'000);
  }
}

TEST(RowNeighbours, AreTheNextRanksThatHaveRows) {
  const std::vector<ShardRange> rows = {{0, 0}, {0, 2}, {2, 2}, {2, 2}, {2, 3}, {3, 7}, {7, 7}};
  const RowNeighbours expected[] = {{}, {std::nullopt, 4}, {}, {}, {1, 5}, {4, std::nullopt}, {}};
  for (int rank = 0; rank < 7; ++rank) {
    EXPECT_EQ(NeighboursOf(rows, rank), expected[rank]) << rank;
  }
  EXPECT_EQ(NeighboursOf(Shard(5, 1), 0), RowNeighbours{});
}

TEST(HaloBytes, GoToTheNeighboursThereAre) {
  const std::vector<ShardRange> rows = {{0, 1}, {1, 1}, {1, 2}, {2, 3}};
  const HaloBytes bytes{.above = 10, .below = 1};
  EXPECT_EQ(HaloBytesSent(bytes, rows, 0), 1);
  EXPECT_EQ(HaloBytesSent(bytes, rows, 1), 0);
  EXPECT_EQ(HaloBytesSent(bytes, rows, 2), 11);
  EXPECT_EQ(HaloBytesSent(bytes, rows, 3), 10);
}

}  // namespace
}  // namespace ovi
