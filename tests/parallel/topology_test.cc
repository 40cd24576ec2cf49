#include "worker/parallel/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TopologyRequest Request(GpuAllocation allocation, int ranks, int heads, bool two_passes) {
  return {.world_size = ranks, .gpus = {.allocation = allocation}, .heads = heads, .two_passes = two_passes};
}

// The rules once more, as a person would say them; {0, 0} where there is no grid.
std::pair<int, int> ExpectedGrid(int ranks, int heads, bool two_passes) {
  const int cfg = two_passes && ranks % 2 == 0 ? 2 : 1;
  const int sp = ranks / cfg;
  return heads % sp == 0 ? std::pair{cfg, sp} : std::pair{0, 0};
}

// Every rank is in one sp group, the groups are contiguous, and peers know each other.
void ExpectPlaces(const Topology& topology) {
  std::set<std::pair<int, int>> cells;
  for (int rank = 0; rank < topology.world_size; ++rank) {
    const std::optional<RankPlace> place = PlaceOf(topology, rank);
    ASSERT_EQ(place.has_value(), rank < topology.computing_ranks());
    if (!place) continue;
    EXPECT_EQ(rank, place->cfg_index * topology.sp + place->sp_index);
    cells.insert({place->cfg_index, place->sp_index});
    ASSERT_EQ(place->sp_group.size(), static_cast<std::size_t>(topology.sp));
    for (int i = 0; i < topology.sp; ++i) {
      const int member = place->sp_group[static_cast<std::size_t>(i)];
      EXPECT_EQ(member, place->sp_group[0] + i);
      EXPECT_EQ(PlaceOf(topology, member)->sp_group, place->sp_group);
    }
    EXPECT_EQ(place->sp_group[static_cast<std::size_t>(place->sp_index)], rank);
    ASSERT_EQ(place->cfg_peer.has_value(), topology.cfg == 2);
    if (!place->cfg_peer) continue;
    const std::optional<RankPlace> peer = PlaceOf(topology, *place->cfg_peer);
    EXPECT_EQ(peer->sp_index, place->sp_index);
    EXPECT_EQ(peer->cfg_index, 1 - place->cfg_index);
    EXPECT_EQ(peer->cfg_peer, rank);
  }
  EXPECT_EQ(cells.size(), static_cast<std::size_t>(topology.cfg * topology.sp));
}

TEST(Topology, FollowsTheRulesForEveryNumberOfRanks) {
  for (const int heads : {8, 24}) {
    for (const bool two_passes : {true, false}) {
      for (int ranks = 1; ranks <= 24; ++ranks) {
        SCOPED_TRACE(testing::Message()
                     << ranks << " ranks, " << heads << " heads, two passes " << two_passes);
        const auto [cfg, sp] = ExpectedGrid(ranks, heads, two_passes);
        for (const GpuAllocation allocation : {GpuAllocation::kMulti, GpuAllocation::kAuto}) {
          const absl::StatusOr<Topology> topology =
              ChooseTopology(Request(allocation, ranks, heads, two_passes));
          ASSERT_EQ(topology.ok(), cfg != 0) << topology.status();
          if (!topology.ok()) {
            EXPECT_EQ(topology.status().code(), absl::StatusCode::kInvalidArgument);
            continue;
          }
          EXPECT_EQ(topology->world_size, ranks);
          EXPECT_EQ(topology->cfg, cfg);
          EXPECT_EQ(topology->sp, sp);
          EXPECT_FALSE(topology->fsdp);
          EXPECT_FALSE(topology->reason.empty());
          ExpectPlaces(*topology);
        }
      }
    }
  }
}

TEST(Topology, FsdpTakesEveryNumberOfRanksAndLetsAsManyComputeAsCan) {
  for (const int heads : {8, 24}) {
    for (const bool two_passes : {true, false}) {
      for (int ranks = 1; ranks <= 24; ++ranks) {
        SCOPED_TRACE(testing::Message()
                     << ranks << " ranks, " << heads << " heads, two passes " << two_passes);
        const absl::StatusOr<Topology> topology =
            ChooseTopology(Request(GpuAllocation::kFsdp, ranks, heads, two_passes));
        ASSERT_TRUE(topology.ok()) << topology.status();
        EXPECT_EQ(topology->world_size, ranks);
        EXPECT_EQ(topology->fsdp, ranks > 1);
        int computing = ranks;
        while (ExpectedGrid(computing, heads, two_passes).first == 0) --computing;
        EXPECT_EQ(std::pair(topology->cfg, topology->sp), ExpectedGrid(computing, heads, two_passes));
        ExpectPlaces(*topology);
      }
    }
  }
}

TEST(Topology, SaysWhichNumbersOfRanksWouldWork) {
  const absl::Status status = ChooseTopology(Request(GpuAllocation::kMulti, 3, 8, true)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("3 ranks"), HasSubstr("8 heads"), HasSubstr("1, 2, 4, 8, 16;")));
  EXPECT_THAT(LegalWorldSizes(8, false), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(LegalWorldSizes(24, true), ElementsAre(1, 2, 3, 4, 6, 8, 12, 16, 24, 48));
  EXPECT_THAT(LegalWorldSizes(24, false), ElementsAre(1, 2, 3, 4, 6, 8, 12, 24));
}

TEST(Topology, SaysWhy) {
  EXPECT_EQ(ChooseTopology(Request(GpuAllocation::kMulti, 8, 24, true))->reason,
            "cfg 2 x sp 4: a pass of guidance on each half");
  EXPECT_EQ(ChooseTopology(Request(GpuAllocation::kMulti, 4, 24, false))->reason,
            "sp 4: guidance is 1, so there is one pass");
  EXPECT_EQ(ChooseTopology(Request(GpuAllocation::kMulti, 3, 24, true))->reason,
            "sp 3: an odd number of ranks has no halves");
  EXPECT_EQ(ChooseTopology(Request(GpuAllocation::kFsdp, 3, 8, true))->reason,
            "cfg 2 x sp 1 + fsdp: a pass of guidance on each half; 1 of 3 ranks only hold weights, since "
            "8 heads cannot be divided equally among 3 ranks");
}

TEST(Topology, RefusesWhatDoesNotBelongTogether) {
  struct Case {
    const char* name;
    TopologyRequest request;
    const char* message;
  };
  const Case cases[] = {
      {"single on two",
       {.world_size = 2, .gpus = {GpuAllocation::kSingle, 1}, .heads = 8},
       "single on a group of 2"},
      {"multi_4 on two",
       {.world_size = 2, .gpus = {GpuAllocation::kMulti, 4}, .heads = 8},
       "multi_4 on a group of 2"},
      {"fsdp_2 on four",
       {.world_size = 4, .gpus = {GpuAllocation::kFsdp, 2}, .heads = 8},
       "fsdp_2 on a group of 4"},
      {"no ranks", {.world_size = 0, .heads = 8}, "world_size: must be 1..64, got 0"},
      {"no heads", {.world_size = 1}, "heads: must be at least 1"},
      {"too few shares", {.world_size = 2, .heads = 8, .shares = {1}}, "shares: 1 of them for 2 ranks"},
      {"a share of 0", {.world_size = 2, .heads = 8, .shares = {1, 0}}, "shares: must be 1.."},
      {"no head left", {.world_size = 3, .heads = 8, .shares = {20, 1, 1}}, "leave none for rank 2"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = ChooseTopology(c.request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(Topology, UnequalRanksAreHalvedOnlyIntoEquallyFastHalves) {
  TopologyRequest request = Request(GpuAllocation::kMulti, 4, 24, true);
  request.shares = {2, 1, 2, 1};
  EXPECT_EQ(ChooseTopology(request)->cfg, 2);
  request.shares = {2, 2, 1, 1};
  const absl::StatusOr<Topology> topology = ChooseTopology(request);
  EXPECT_EQ(topology->cfg, 1);
  EXPECT_EQ(topology->sp, 4);
  EXPECT_EQ(topology->reason, "sp 4: the halves are not equally fast");
  // A 24 GB card and two of 12 GB: 8 heads as 4, 2, 2.
  request = Request(GpuAllocation::kMulti, 3, 8, true);
  request.shares = {2, 1, 1};
  EXPECT_EQ(ChooseTopology(request)->sp, 3);
}

}  // namespace
}  // namespace ovi
