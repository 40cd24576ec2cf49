// Who goes first, who may pass, who makes room.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class ScheduleTest : public CoreTest {
 protected:
  void Complete(JobId id) { Report(GroupOf(id), Ref(id), AttemptEnd::kCompleted); }
  JobId SubmitWithPriority(int priority) {
    JobRequest request = Single();
    request.priority = priority;
    return Submit(request);
  }
};

TEST_F(ScheduleTest, RunsHigherPrioritiesFirstAndEqualOnesInOrder) {
  Connect(Box("box-1", {8}));
  const JobId running = Running(Single());
  const JobId low = SubmitWithPriority(-1);
  const JobId first = SubmitWithPriority(0);
  const JobId second = SubmitWithPriority(0);
  const JobId high = SubmitWithPriority(9);
  std::vector<JobId> order;
  JobId now = running;
  for (int i = 0; i < 4; ++i) {
    Complete(now);
    for (const JobId id : state_.active) now = id;
    order.push_back(now);
  }
  EXPECT_EQ(order, (std::vector<JobId>{high, first, second, low}));
}

TEST_F(ScheduleTest, LetsSmallJobsPastOneThatDoesNotFitNow) {
  Connect(Box("box-1", {8, 8}));
  Running(Single());
  const JobId gang = Submit(Multi(2));
  const JobId small = Submit(Single());
  EXPECT_EQ(StateOf(gang), JobState::kPending);
  EXPECT_EQ(StateOf(small), JobState::kConfiguring);
}

TEST_F(ScheduleTest, MakesIdleGroupsEndForAJobThatNeedsTheirMemory) {
  Connect(Box("box-1", {8}));
  const GroupId idle = Warm(Single());
  const JobId id = Submit(Single("other"));
  EXPECT_TRUE(Ordered<StopGroup>(idle));
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Exit(idle, 0);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_EQ(state_.groups.at(GroupOf(id)).model_name, "other");
}

TEST_F(ScheduleTest, EvictsNoSecondGroupWhileOneIsEndingForTheJob) {
  Connect(Box("box-1", {8, 8}));
  const JobId first = Running(Single());
  const JobId second = Running(Single());
  Complete(first);
  Complete(second);
  const JobId id = Submit(Single("other"));
  EXPECT_THAT(Orders<StopGroup>(), SizeIs(1));
  TickAfter(1'000);
  EXPECT_THAT(Orders<StopGroup>(), IsEmpty());
  EXPECT_EQ(StateOf(id), JobState::kPending);
}

TEST_F(ScheduleTest, EvictsAnotherWhenTheFirstDoesNotEnd) {
  Connect(Box("box-1", {8, 8}));
  const JobId first = Running(Single());
  const JobId second = Running(Single());
  Complete(first);
  Complete(second);
  Submit(Single("other"));
  const GroupId hung = Orders<StopGroup>().at(0).group;
  for (std::int64_t ms = 0; ms < state_.policy.stop_ms_max; ms += 1'000) {
    Hear("box-1");
    TickAfter(1'000);
  }
  EXPECT_TRUE(Ordered<StopGroup>(hung == "g1-1" ? "g2-1" : "g1-1"));
}

TEST_F(ScheduleTest, KeepsTheMemoryOfAnEvictedGroupForWhomItWasEvicted) {
  Connect(Box("box-1", {8, 8}));
  const JobId first = Running(Single());
  const JobId second = Running(Single());
  Complete(first);
  Complete(second);
  const JobId gang = Submit(Multi(2));
  EXPECT_THAT(Orders<StopGroup>(), SizeIs(2));
  const JobId small = Submit(Single("other"));
  Exit("g1-1", 0);
  EXPECT_EQ(StateOf(small), JobState::kPending);
  Exit("g2-1", 0);
  EXPECT_EQ(StateOf(gang), JobState::kConfiguring);
  EXPECT_EQ(StateOf(small), JobState::kPending);
}

TEST_F(ScheduleTest, WaitsForGroupsThatEndWhenThatGivesAnAutoJobMoreGpus) {
  Connect(Box("box-1", {8, 8}));
  const JobId running = Running(Single());
  Do(CancelAsked{.job = Submit(Single())});  // its group is ending
  Report(GroupOf(running), Ref(running), AttemptEnd::kWorkerCrash);
  Do(CancelAsked{.job = running});
  Exit("g1-1", 0);
  const JobId id = Submit({.model_name = "mini"});
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Exit("g2-1", 0);
  EXPECT_EQ(Last(id).gpu_indices, (std::vector<int>{0, 1}));
}

TEST_F(ScheduleTest, HoldsGpusBackForTheFirstJobOnceItHasWaitedTooLong) {
  Connect(Box("box-1", {8, 8}));
  const JobId a = Running(Single());
  const JobId b = Running(Single());
  const JobId gang = Submit(Multi(2));
  const JobId c = Submit(Single());
  Complete(a);
  ASSERT_EQ(StateOf(c), JobState::kConfiguring);  // small ones pass
  Attach(GroupOf(c));
  Wait(state_.policy.head_wait_ms_max);
  Hear("box-1");
  const JobId d = Submit(Single());
  Complete(b);
  EXPECT_EQ(StateOf(d), JobState::kPending);  // now they do not
  EXPECT_EQ(StateOf(gang), JobState::kPending);
  Complete(c);
  // Both groups are idle: they end for it.
  EXPECT_THAT(Orders<StopGroup>(), SizeIs(2));
  Exit(GroupOf(b), 0);
  Exit(GroupOf(c), 0);
  EXPECT_EQ(StateOf(gang), JobState::kConfiguring);
  EXPECT_EQ(StateOf(d), JobState::kPending);
}

TEST_F(ScheduleTest, HoldsNoMoreBackThanTheFirstJobNeeds) {
  Connect(Box("box-1", {8, 8, 8}));
  Running(Single());
  Running(Single());
  const JobId c = Running(Single());
  Submit(Multi(2));
  Wait(state_.policy.head_wait_ms_max);
  Hear("box-1");
  Connect(Box("box-2", {8}));
  EXPECT_EQ(StateOf(Submit(Single())), JobState::kConfiguring);  // a box where the gang cannot go
  const JobId next = Submit(Single());
  Complete(c);
  EXPECT_EQ(StateOf(next), JobState::kPending);
}

TEST_F(ScheduleTest, HoldsNothingBackForAJobThatNoNodeCouldHoldNow) {
  Connect(Box("box-1", {8, 8}));
  Connect(Box("box-2", {8}));
  const JobId gang = Submit(Multi(2));
  Do(DrainAsked{.node = "box-1", .reason = "fan"});
  Attach(GroupOf(gang));
  Exit(GroupOf(gang), 1);
  ASSERT_EQ(StateOf(gang), JobState::kPending);
  Wait(state_.policy.head_wait_ms_max);
  Hear("box-2");
  EXPECT_EQ(StateOf(Submit(Single())), JobState::kConfiguring);
}

TEST_F(ScheduleTest, FreesWhatWasHeldBackWhenTheFirstJobIsCancelled) {
  Connect(Box("box-1", {8, 8}));
  const JobId a = Running(Single());
  Running(Single());
  const JobId gang = Submit(Multi(2));
  const JobId small = Submit(Single());
  Wait(state_.policy.head_wait_ms_max);
  Hear("box-1");
  Complete(a);
  ASSERT_EQ(StateOf(small), JobState::kPending);
  Do(CancelAsked{.job = gang});
  EXPECT_EQ(StateOf(small), JobState::kConfiguring);
}

TEST_F(ScheduleTest, LooksNoDeeperIntoTheQueueThanPolicySays) {
  state_.policy.queue_depth_max = 3;
  Connect(Box("box-1", {8, 8}));
  Running(Single());
  for (int i = 0; i < 2; ++i) Submit(Multi(2));
  const JobId third = Submit(Single());
  EXPECT_EQ(StateOf(third), JobState::kConfiguring);
  Do(CancelAsked{.job = third});
  Exit(GroupOf(third), 0);
  Submit(Multi(2));
  EXPECT_EQ(StateOf(Submit(Single())), JobState::kPending);
}

TEST_F(ScheduleTest, StartsAsManyAtOnceAsThereIsRoomFor) {
  for (int i = 0; i < 5; ++i) Submit(Single());
  Connect(Box("box-1", {8, 8, 8}));
  EXPECT_THAT(Orders<StartGroup>(), SizeIs(3));
  EXPECT_EQ(state_.queue.size(), 2u);
}

TEST_F(ScheduleTest, LetsGroupsShareAGpuWherePolicyAllows) {
  state_.policy.groups_per_gpu_max = 2;
  for (int i = 0; i < 3; ++i) Submit(Single());
  Connect(Box("box-1", {24}));
  EXPECT_THAT(Orders<StartGroup>(), SizeIs(2));
}

TEST_F(ScheduleTest, TellsTheGroupAndTheJournalWhichModeItChose) {
  Connect(WithModes(Box("box-1", {5})));
  const JobId id = Submit(Single());
  EXPECT_EQ(Last(id).vram_mode, VramMode::kUltraLow);
  EXPECT_EQ(Last(id).bytes_per_rank, 3);
  Attach(GroupOf(id));
  ASSERT_THAT(Orders<RunAttempt>(), SizeIs(1));
  EXPECT_EQ(Orders<RunAttempt>()[0].vram_mode, VramMode::kUltraLow);
  const Group group = state_.groups.at(GroupOf(id));
  Restart();
  EXPECT_EQ(Last(id).vram_mode, VramMode::kUltraLow);
  Connect(WithModes(Box("box-1", {5})), {FactsOf(group)});
  Attach(group.id);
  ASSERT_THAT(Orders<RunAttempt>(), SizeIs(1)) << "it came back without the attempt";
  EXPECT_EQ(Orders<RunAttempt>()[0].vram_mode, VramMode::kUltraLow);
}

TEST_F(ScheduleTest, GivesAWarmGroupTheModeOfItsNextJob) {
  Connect(WithModes(Box("box-1", {8})));
  const GroupId group = Warm(Single());
  const JobId id = Submit(In(VramMode::kFp8));
  ASSERT_THAT(Orders<RunAttempt>(), SizeIs(1));
  EXPECT_EQ(Orders<RunAttempt>()[0].group, group);
  EXPECT_EQ(Orders<RunAttempt>()[0].vram_mode, VramMode::kFp8);
  EXPECT_EQ(Last(id).vram_mode, VramMode::kFp8);
}

TEST_F(ScheduleTest, LetsAnAutoJobWaitForStandardUntilItsNodeIsGivenUp) {
  Connect(WithModes(Box("box-1", {8})));
  Connect(WithModes(Box("box-2", {5})));
  const JobId running = Running(Single());
  const JobId second = Submit(Single());
  EXPECT_EQ(StateOf(second), JobState::kPending) << "box-2 is free, but it holds less";
  Complete(running);
  EXPECT_EQ(Last(second).node, "box-1");
  EXPECT_EQ(Last(second).vram_mode, VramMode::kStandard);

  const JobId third = Submit(Single());
  Lose("box-1");
  for (int seconds = 1; seconds < 20; ++seconds) {
    Wait(1'000);
    Hear("box-2");
    Do(Tick{});
    ASSERT_EQ(StateOf(third), JobState::kPending) << seconds << " s: it may be back in a moment";
  }
  Wait(1'000);
  Hear("box-2");
  Do(Tick{});
  EXPECT_EQ(Last(third).node, "box-2");
  EXPECT_EQ(Last(third).vram_mode, VramMode::kUltraLow);
}

TEST_F(ScheduleTest, KeepsTheModeAfterACrashAndLowersItElsewhereAfterOutOfMemory) {
  Connect(WithModes(Box("box-1", {8})));
  Connect(WithModes(Box("box-2", {5})));
  const JobId id = Running(Single());
  Exit(GroupOf(id), 139);
  ASSERT_THAT(JobOf(id).attempts, SizeIs(2));
  EXPECT_EQ(Last(id).node, "box-1");
  EXPECT_EQ(Last(id).vram_mode, VramMode::kStandard);
  Exit(GroupOf(id), 3);
  ASSERT_THAT(JobOf(id).attempts, SizeIs(3));
  EXPECT_EQ(Last(id).node, "box-2");
  EXPECT_EQ(Last(id).vram_mode, VramMode::kUltraLow);
}

}  // namespace
}  // namespace ovi::core
