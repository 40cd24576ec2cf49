// What happens because nothing happened.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class TimeoutTest : public CoreTest {
 protected:
  void SetUp() override { Connect(Box("box-1", {8})); }
  // Ticks every second while the agent reports.
  void Pass(std::int64_t ms) {
    for (std::int64_t passed = 0; passed < ms; passed += 1'000) {
      Wait(std::min<std::int64_t>(1'000, ms - passed));
      Hear("box-1");
      Do(Tick{});
    }
  }
  const Policy& policy() const { return state_.policy; }
};

TEST_F(TimeoutTest, FailsALaunchThatTakesTooLong) {
  const JobId id = Submit(Single());
  Pass(policy().launch_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  Pass(1);
  EXPECT_EQ(Last(id).end, AttemptEnd::kLaunchFailed);
  EXPECT_EQ(Last(id).message, "group g1-1 did not connect within 60 s");
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(TimeoutTest, FailsALaunchOnANodeThatFellSilent) {
  const JobId id = Submit(Single());
  TickAfter(policy().reconnect_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  TickAfter(1);
  EXPECT_EQ(Last(id).end, AttemptEnd::kNodeFail);
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(TimeoutTest, EndsAnAttemptThatMakesNoProgress) {
  const JobId id = Running(Single());
  Pass(policy().stall_ms_max - 1);
  Progressed("g1-1", Ref(id), 2);
  Pass(policy().stall_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  Pass(1);
  EXPECT_EQ(Last(id).end, AttemptEnd::kTimeout);
  EXPECT_EQ(Last(id).message, "no progress for 120 s");
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
  EXPECT_EQ(StateOf(id), JobState::kPending);
}

TEST_F(TimeoutTest, EndsAnAttemptThatStallsBeforeItsFirstSignOrWhileItUploads) {
  const JobId first = Submit(Single());
  Attach("g1-1");
  Pass(policy().stall_ms_max);
  EXPECT_EQ(JobOf(first).attempts[0].end, AttemptEnd::kTimeout);
  Do(CancelAsked{.job = first});
  Exit("g1-1", 0);
  const JobId second = Running(Single());
  Pass(policy().stall_ms_max - 1);
  Do(ArtifactBegun{.group = GroupOf(second), .attempt = Ref(second)});
  Pass(policy().stall_ms_max - 1);
  EXPECT_EQ(StateOf(second), JobState::kCompleting);
  Pass(1);
  EXPECT_EQ(Last(second).end, AttemptEnd::kTimeout);
}

TEST_F(TimeoutTest, GivesUpAGroupThatStaysDetachedThoughItsAgentSeesIt) {
  const JobId id = Running(Single());
  Do(GroupDetached{.group = "g1-1"});
  Pass(policy().reconnect_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  Pass(1);
  EXPECT_EQ(Last(id).end, AttemptEnd::kNodeFail);
  EXPECT_EQ(Last(id).message, "group g1-1 was not heard of for 20 s");
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(TimeoutTest, TakesASignThroughABrokenStreamForALivingGroup) {
  const JobId id = Running(Single());
  Do(GroupDetached{.group = "g1-1"});
  Pass(policy().reconnect_ms_max - 1'000);
  Progressed("g1-1", Ref(id), 2);
  Pass(policy().reconnect_ms_max - 1'000);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
}

TEST_F(TimeoutTest, StopsAWarmGroupThatNobodyNeeds) {
  const GroupId group = Warm(Single());
  Pass(policy().group_idle_ms_max - 1);
  EXPECT_EQ(state_.groups.at(group).state, GroupState::kIdle);
  Pass(1);
  EXPECT_TRUE(Ordered<StopGroup>(group));
  Exit(group, 0);
  EXPECT_THAT(state_.groups, IsEmpty());
}

TEST_F(TimeoutTest, StopsAWarmGroupThatStaysDetached) {
  const GroupId group = Warm(Single());
  Do(GroupDetached{.group = group});
  Pass(policy().reconnect_ms_max - 1);
  EXPECT_EQ(state_.groups.at(group).state, GroupState::kIdle);
  Pass(1);
  EXPECT_TRUE(Ordered<StopGroup>(group));
}

TEST_F(TimeoutTest, StopsAWarmGroupWhoseAgentStaysAway) {
  const GroupId group = Warm(Single());
  Lose("box-1");
  TickAfter(policy().reconnect_ms_max - 1);
  EXPECT_FALSE(Ordered<StopGroup>(group));
  TickAfter(1);
  EXPECT_TRUE(Ordered<StopGroup>(group));
}

TEST_F(TimeoutTest, SaysStopAgainAndKeepsTheMemoryWhileTheAgentIsThere) {
  const GroupId group = Warm(Single());
  Do(DrainAsked{.node = "box-1", .reason = "fan"});
  ASSERT_TRUE(Ordered<StopGroup>(group));
  Pass(policy().stop_ms_max - 1);
  EXPECT_FALSE(Ordered<StopGroup>(group));
  Pass(1);
  EXPECT_TRUE(Ordered<StopGroup>(group));
  Pass(1'000);
  EXPECT_FALSE(Ordered<StopGroup>(group));
  Pass(100'000);
  EXPECT_EQ(BytesFreeOf("box-1"), 2);
}

TEST_F(TimeoutTest, ForgetsAStoppedGroupOfANodeThatIsAway) {
  const GroupId group = Warm(Single());
  Do(DrainAsked{.node = "box-1", .reason = "fan"});
  Lose("box-1");
  Do(GroupDetached{.group = group});
  TickAfter(policy().stop_ms_max - 1);
  EXPECT_TRUE(state_.groups.contains(group));
  TickAfter(1);
  EXPECT_FALSE(state_.groups.contains(group));
}

TEST_F(TimeoutTest, DoesNotForgetAStoppedGroupOfANodeThatIsOnlySilent) {
  const GroupId group = Warm(Single());
  Do(DrainAsked{.node = "box-1", .reason = "fan"});
  Do(GroupDetached{.group = group});
  TickAfter(policy().stop_ms_max * 10);
  EXPECT_FALSE(state_.nodes.at("box-1").connected);
  Hear("box-1");
  TickAfter(0);
  EXPECT_TRUE(state_.nodes.at("box-1").connected);
  EXPECT_TRUE(Ordered<StopGroup>(group));
  EXPECT_EQ(BytesFreeOf("box-1"), 2);
}

TEST_F(TimeoutTest, DoesNotForgetAGroupThatStillHoldsItsStream) {
  const GroupId group = Warm(Single());
  Do(DrainAsked{.node = "box-1", .reason = "fan"});
  Lose("box-1");
  TickAfter(policy().stop_ms_max * 2);
  EXPECT_TRUE(state_.groups.contains(group));
}

TEST_F(TimeoutTest, NoticesANodeThatDiesWithEverythingOnIt) {
  Connect(Box("box-2", {8}));
  const JobId id = Running(Single());
  Lose("box-1");
  Do(GroupDetached{.group = "g1-1"});
  for (std::int64_t ms = 0; ms < policy().reconnect_ms_max; ms += 1'000) {
    Hear("box-2");
    TickAfter(1'000);
  }
  EXPECT_EQ(JobOf(id).attempts[0].end, AttemptEnd::kNodeFail);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_EQ(Last(id).node, "box-2");
}

}  // namespace
}  // namespace ovi::core
