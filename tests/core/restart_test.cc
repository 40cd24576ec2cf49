// The coordinator died and starts anew with its journal, while groups went on.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class RestartTest : public CoreTest {
 protected:
  void SetUp() override { Connect(Box("box-1", {8})); }
  GroupFound Found(const GroupId& id) {
    return {.group = id, .gpu_indices = {0}, .bytes_per_rank = 6, .model_name = "mini"};
  }
  const Outcome& AttachAgain(const GroupId& id, AttemptRef running) {
    return Do(GroupAttached{.group = Found(id), .node = "box-1", .running = running});
  }
};

TEST_F(RestartTest, GoesOnWithAnAttemptWhoseGroupComesBackRunning) {
  const JobId id = Running(Single());
  Restart();
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  EXPECT_TRUE(AttachAgain("g1-1", {id, 1}).reply.ok());
  EXPECT_THAT(outcome_.decisions, IsEmpty());
  Connect(Box("box-1", {8}), {Found("g1-1")});
  Report("g1-1", {id, 1}, AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kCompleted);
}

TEST_F(RestartTest, GoesOnWhicheverOfAgentAndGroupComesFirst) {
  const JobId id = Running(Single());
  Restart();
  Connect(Box("box-1", {8}), {Found("g1-1")});
  EXPECT_EQ(state_.groups.at("g1-1").state, GroupState::kBusy);
  EXPECT_EQ(BytesFreeOf("box-1"), 2);
  AttachAgain("g1-1", {id, 1});
  EXPECT_THAT(outcome_.decisions, IsEmpty());
  EXPECT_EQ(StateOf(id), JobState::kRunning);
}

TEST_F(RestartTest, StartsTheAttemptInAGroupThatWasStarting) {
  const JobId id = Submit(Single());
  Restart();
  Connect(Box("box-1", {8}), {Found("g1-1")});
  EXPECT_EQ(state_.groups.at("g1-1").state, GroupState::kStarting);
  AttachAgain("g1-1", {});
  EXPECT_TRUE(Ordered<RunAttempt>("g1-1", {id, 1}));
}

TEST_F(RestartTest, TakesAReportThatComesBeforeAnythingElseIsKnown) {
  const JobId id = Running(Single());
  Restart();
  Report("g1-1", {id, 1}, AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kCompleted);
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>("g1-1", {id, 1}));
}

TEST_F(RestartTest, KeepsAnIdleGroupWarm) {
  const GroupId group = Warm(Single());
  Restart();
  AttachAgain(group, {});
  Connect(Box("box-1", {8}), {Found(group)});
  const JobId id = Submit(Single());
  EXPECT_TRUE(Ordered<RunAttempt>(group, {id, 1}));
}

TEST_F(RestartTest, AcknowledgesAResultWhoseAcknowledgementWasLost) {
  const GroupId group = Warm(Single());
  Restart();
  AttachAgain(group, {1, 1});
  EXPECT_TRUE(Ordered<CancelAttempt>(group, {1, 1}));
  Report(group, {1, 1}, AttemptEnd::kCompleted);
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>(group, {1, 1}));
  EXPECT_THAT(Orders<DropUploads>(), IsEmpty());
  EXPECT_EQ(state_.groups.at(group).state, GroupState::kIdle);
}

TEST_F(RestartTest, EndsAttemptsWhoseGroupsDoNotComeBackInTime) {
  const JobId id = Running(Single());
  Wait(1'000'000);
  Restart();
  TickAfter(state_.policy.reconnect_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  TickAfter(1);
  EXPECT_EQ(StateOf(id), JobState::kPending);
  EXPECT_EQ(Last(id).end, AttemptEnd::kNodeFail);
  EXPECT_EQ(Last(id).message, "group g1-1 did not come back within 20 s after the coordinator's restart");
}

TEST_F(RestartTest, EndsAttemptsAtOnceWhoseGroupsTheAgentDoesNotHave) {
  const JobId id = Running(Single());
  Restart();
  Connect(Box("box-1", {8}));
  EXPECT_EQ(JobOf(id).attempts[0].end, AttemptEnd::kWorkerCrash);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(RestartTest, FailsTheLaunchWhoseOrderDiedWithUs) {
  const JobId id = Submit(Single());
  Restart();
  Connect(Box("box-1", {8}));
  EXPECT_EQ(Last(id).end, AttemptEnd::kLaunchFailed);
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
  Do(GroupExited{.node = "box-1", .group = "g1-1"});
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

TEST_F(RestartTest, TakesAnExitForAnAttemptWhoseGroupItHasNotMetYet) {
  const JobId id = Running(Single());
  Restart();
  Exit("g1-1", 3, "box-9");
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  Exit("g1-1", 3);
  EXPECT_EQ(Last(id).end, AttemptEnd::kOutOfMemory);
}

TEST_F(RestartTest, GoesOnCancellingWhatWasToBeCancelled) {
  const JobId id = Running(Single());
  Do(CancelAsked{.job = id});
  Wait(1'000'000);
  Restart();
  AttachAgain("g1-1", {id, 1});
  EXPECT_TRUE(Ordered<CancelAttempt>("g1-1", {id, 1}));
  TickAfter(state_.policy.cancel_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  TickAfter(1);
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
}

TEST_F(RestartTest, CancelsAJobWhoseGroupNeverComesBack) {
  const JobId running = Running(Single());
  Restart();
  Do(CancelAsked{.job = running});
  EXPECT_THAT(outcome_.decisions, IsEmpty());
  TickAfter(state_.policy.cancel_ms_max);
  EXPECT_EQ(StateOf(running), JobState::kCancelled);
}

TEST_F(RestartTest, CancelsAJobWhoseGroupIsFoundButStillStarts) {
  const JobId id = Submit(Single());
  Restart();
  Do(CancelAsked{.job = id});
  Connect(Box("box-1", {8}), {Found("g1-1")});
  TickAfter(state_.policy.cancel_ms_max);
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(RestartTest, NeverUsesTheNameOfAGroupThatStillLives) {
  // A new journal: job 1 is another job, but the group of the old one is still there.
  Restart();
  state_ = {};
  replayed_ = {};
  journal_.clear();
  state_.policy.groups_per_gpu_max = 2;
  Connect(Box("box-1", {24}), {Found("g1-1")});
  const JobId id = Submit(Single("other"));
  EXPECT_EQ(id, 1);
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Exit("g1-1", 0);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

}  // namespace
}  // namespace ovi::core
