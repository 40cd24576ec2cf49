// An attempt from its first sign to its end, and what follows.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class AttemptTest : public CoreTest {
 protected:
  void SetUp() override { Connect(Box("box-1", {8})); }
};

TEST_F(AttemptTest, GoesThroughAllStatesToItsResult) {
  const JobId id = Submit(Single());
  Attach("g1-1");
  EXPECT_TRUE(Ordered<RunAttempt>("g1-1", {id, 1}));
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  Progressed("g1-1", {id, 1}, 3);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  EXPECT_EQ(JobOf(id).progress.step, 3);
  EXPECT_TRUE(Do(ArtifactBegun{.group = "g1-1", .attempt = {id, 1}}).reply.ok());
  EXPECT_EQ(StateOf(id), JobState::kCompleting);
  Wait(5);
  Do(AttemptReported{.group = "g1-1",
                     .attempt = {id, 1},
                     .end = AttemptEnd::kCompleted,
                     .artifacts = {{.file_name = "video.mp4"}},
                     .memory = {{.rank = 0, .stage = Stage::kDecode, .device_bytes_peak = 5}}});
  const Job& job = JobOf(id);
  EXPECT_EQ(job.state, JobState::kCompleted);
  EXPECT_EQ(job.finished_at, now_);
  EXPECT_THAT(job.artifacts, ElementsAre(Artifact{.file_name = "video.mp4"}));
  EXPECT_EQ(job.attempts[0].end, AttemptEnd::kCompleted);
  ASSERT_THAT(job.attempts[0].memory, SizeIs(1));
  EXPECT_EQ(job.attempts[0].memory[0].device_bytes_peak, 5);
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>("g1-1", {id, 1}));
  EXPECT_THAT(Orders<DropUploads>(), IsEmpty());
  EXPECT_EQ(state_.groups.at("g1-1").state, GroupState::kIdle);
}

TEST_F(AttemptTest, WritesNothingForLaterProgressAndTellsThoseWhoWatch) {
  const JobId id = Running(Single());
  EXPECT_THAT(Progressed("g1-1", Ref(id), 2).changes, IsEmpty());
  EXPECT_THAT(outcome_.touched, ElementsAre(id));
  EXPECT_EQ(JobOf(id).last_sign_at, now_);
}

TEST_F(AttemptTest, ShowsNoOlderProgressButTakesItForASignOfLife) {
  const JobId id = Running(Single());
  Progressed("g1-1", Ref(id), 5);
  Wait(10);
  EXPECT_THAT(Progressed("g1-1", Ref(id), 4).touched, IsEmpty());
  EXPECT_EQ(JobOf(id).progress.step, 5);
  EXPECT_EQ(JobOf(id).last_sign_at, now_);
}

TEST_F(AttemptTest, KeepsTheLastMemoryReportOfEachStageAndRank) {
  const JobId id = Running(Single());
  const auto tell = [&](int rank, Stage stage, std::int64_t bytes) {
    Do(AttemptProgressed{.group = "g1-1",
                         .attempt = Ref(id),
                         .memory = {{.rank = rank, .stage = stage, .device_bytes_peak = bytes}}});
  };
  tell(0, Stage::kEncode, 3);
  tell(0, Stage::kDenoise, 4);
  tell(0, Stage::kEncode, 5);
  tell(1, Stage::kEncode, 6);  // there is one rank
  Exit("g1-1", 1);
  ASSERT_THAT(JobOf(id).attempts[0].memory, SizeIs(2));
  EXPECT_EQ(JobOf(id).attempts[0].memory[0].device_bytes_peak, 5);
}

TEST_F(AttemptTest, IgnoresProgressThatIsLateOrOfAnotherGroup) {
  const JobId id = Submit(Single());
  Attach("g1-1");
  for (const auto& [group, ref] : std::vector<std::pair<GroupId, AttemptRef>>{
           {"g1-1", {id, 2}}, {"g9-1", {id, 1}}, {"g1-1", {9, 1}}, {"g1-1", {0, 0}}}) {
    Progressed(group, ref);
    EXPECT_THAT(outcome_.touched, IsEmpty());
    EXPECT_TRUE(absl::IsFailedPrecondition(Do(ArtifactBegun{.group = group, .attempt = ref}).reply.status()));
  }
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
}

struct EndRow {
  AttemptEnd end;
  JobState job;
  bool group_stays;
};

TEST_F(AttemptTest, EndsAsReportedAndIsTriedAgainWhereThatHelps) {
  const std::vector<EndRow> rows = {{AttemptEnd::kOutOfMemory, JobState::kPending, false},
                                    {AttemptEnd::kGpuError, JobState::kPending, false},
                                    {AttemptEnd::kWorkerCrash, JobState::kPending, false},
                                    {AttemptEnd::kBadInput, JobState::kFailed, true},
                                    {AttemptEnd::kNodeNotReady, JobState::kFailed, true}};
  for (const EndRow& row : rows) {
    SCOPED_TRACE(ToString(row.end));
    const JobId id = Running(Single());
    const GroupId group = GroupOf(id);
    Report(group, Ref(id), row.end);
    EXPECT_EQ(StateOf(id), row.job);
    EXPECT_EQ(JobOf(id).attempts[0].end, row.end);
    EXPECT_EQ(JobOf(id).attempts[0].message, "so it was");
    EXPECT_TRUE(Ordered<AcknowledgeAttempt>(group, {id, 1}));
    EXPECT_EQ(Ordered<StopGroup>(group), !row.group_stays);
    const std::string described =
        absl::StrCat("attempt 1 ended as ", ToString(row.end), " on box-1: so it was");
    const std::string why = row.end == AttemptEnd::kNodeNotReady ? "; no other node could take it" : "";
    EXPECT_EQ(JobOf(id).error, row.job == JobState::kFailed ? described + why : "");
    EXPECT_EQ(JobOf(id).pending_reason, row.job == JobState::kPending ? described + "; tried again" : "");
    Do(CancelAsked{.job = id});
    Exit(group, 0);
  }
}

TEST_F(AttemptTest, WhatANodeLacksIsLookedForOnTheOtherNodesAndNotTwiceOnOne) {
  Connect(Box("box-2", {8}));
  const JobId id = Running(Single());
  const std::string first = Last(id).node;
  Report(GroupOf(id), Ref(id), AttemptEnd::kNodeNotReady);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_NE(Last(id).node, first);
  Attach(GroupOf(id));
  Report(GroupOf(id), Ref(id), AttemptEnd::kNodeNotReady);
  EXPECT_EQ(StateOf(id), JobState::kFailed) << "a third attempt is left, but no node";
  EXPECT_EQ(JobOf(id).error, absl::StrCat("attempt 2 ended as NODE_NOT_READY on ", Last(id).node,
                                          ": so it was; no other node could take it"));
}

// One box is not ready; the others are told of by each test.
class NotReadyTest : public AttemptTest {
 protected:
  JobId NotReadyOnBox1() {
    const JobId id = Running(Single());
    EXPECT_EQ(Last(id).node, "box-1");
    Report(GroupOf(id), Ref(id), AttemptEnd::kNodeNotReady);
    return id;
  }
};

TEST_F(NotReadyTest, AJobWaitsForNodesThatMayStillBeOnTheirWayBackAfterARestart) {
  Restart();
  Connect(Box("box-1", {8}));
  const JobId id = NotReadyOnBox1();
  EXPECT_EQ(PendingReason(state_, JobOf(id)),
            "attempt 1 ended as NODE_NOT_READY on box-1: so it was; tried again; waits for a node: box-1 "
            "failed it before");
  Wait(state_.policy.reconnect_ms_max - 1);
  Hear("box-1");
  Do(Tick{});
  ASSERT_EQ(StateOf(id), JobState::kPending);
  Connect(Box("box-2", {8}));
  EXPECT_EQ(Last(id).node, "box-2");
}

TEST_F(NotReadyTest, AJobFailsOnceNobodyIsOnTheWayBack) {
  Restart();
  Connect(Box("box-1", {8}));
  const JobId id = NotReadyOnBox1();
  Wait(state_.policy.reconnect_ms_max);
  Hear("box-1");
  Do(Tick{});
  EXPECT_EQ(StateOf(id), JobState::kFailed);
  EXPECT_EQ(JobOf(id).error,
            "attempt 1 ended as NODE_NOT_READY on box-1: so it was; no other node could take it");
  EXPECT_THAT(state_.not_ready, IsEmpty());
}

TEST_F(NotReadyTest, AJobWaitsForALostNodeUntilItIsGivenUp) {
  Connect(Box("box-2", {24}));
  Lose("box-2");
  const JobId id = NotReadyOnBox1();
  Do(Tick{});
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Wait(state_.policy.reconnect_ms_max);
  Hear("box-1");
  Do(Tick{});
  EXPECT_EQ(StateOf(id), JobState::kFailed);
  EXPECT_EQ(JobOf(id).attempts.size(), 1u);
}

TEST_F(NotReadyTest, AJobFailsWhenTheNodeItWaitsForIsDrained) {
  Connect(Box("box-2", {24}));
  const JobId id = Running(Single());
  const JobId other = Running(Single());
  ASSERT_EQ(Last(other).node, "box-2");
  Report(GroupOf(id), Ref(id), AttemptEnd::kNodeNotReady);
  ASSERT_EQ(StateOf(id), JobState::kPending) << "box-2 works for another";
  Do(DrainAsked{.node = "box-2"});
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Do(Tick{});
  EXPECT_EQ(StateOf(id), JobState::kFailed);
  EXPECT_EQ(JobOf(id).attempts.size(), 1u);
}

TEST_F(NotReadyTest, ACrashElsewhereDoesNotBringAJobBack) {
  Connect(Box("box-2", {24}));
  const JobId id = NotReadyOnBox1();
  ASSERT_EQ(Last(id).node, "box-2");
  Exit(GroupOf(id), 139, "box-2");
  EXPECT_EQ(Ref(id).attempt, 3);
  EXPECT_EQ(Last(id).node, "box-2");
}

TEST_F(NotReadyTest, DoesNotUseUpTheAttemptsWhileNodesAreLeft) {
  for (int i = 2; i <= 5; ++i) Connect(Box(absl::StrCat("box-", i), {8}));
  const JobId id = Submit(Single());
  for (int i = 1; i <= 4; ++i) {
    ASSERT_EQ(StateOf(id), JobState::kConfiguring);
    Attach(GroupOf(id));
    Report(GroupOf(id), Ref(id), AttemptEnd::kNodeNotReady);
  }
  for (int crash = 1; crash <= state_.policy.attempts_max; ++crash) {
    ASSERT_EQ(StateOf(id), JobState::kConfiguring);
    ASSERT_EQ(Last(id).node, "box-5");
    Exit(GroupOf(id), 139, "box-5");
  }
  EXPECT_EQ(StateOf(id), JobState::kFailed);
  EXPECT_THAT(JobOf(id).error, HasSubstr("no more than 3 attempts are made"));
}

// The other node that gives standard has its memory in use by others.
TEST_F(AttemptTest, ACrashIsFollowedByNoLowerMode) {
  NodeFacts used = WithModes(Box("box-2", {8}));
  used.gpus[0].bytes_foreign = 4;
  Connect(WithModes(Box("box-3", {8})));
  Connect(used);
  Do(DrainAsked{.node = "box-1"});
  const JobId id = Running(Single());
  ASSERT_EQ(Last(id).vram_mode, VramMode::kStandard);
  Exit(GroupOf(id), 139, "box-3");
  ASSERT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_EQ(Last(id).node, "box-3");
  EXPECT_EQ(Last(id).vram_mode, VramMode::kStandard);
}

TEST_F(AttemptTest, WhatANodeLacksIsNotLookedForInALowerMode) {
  Do(DrainAsked{.node = "box-1"});
  Connect(WithModes(Box("box-2", {3})));
  Connect(WithModes(Box("box-3", {64})));
  const JobId id = Running(Single());
  ASSERT_EQ(Last(id).node, "box-3");
  ASSERT_EQ(Last(id).vram_mode, VramMode::kStandard);
  Report(GroupOf(id), Ref(id), AttemptEnd::kNodeNotReady);
  EXPECT_EQ(StateOf(id), JobState::kFailed) << "box-2 holds ultra_low alone";
}

TEST_F(AttemptTest, FailsTheJobAfterTheLastOne) {
  const JobId id = Submit(Single());
  for (int number = 1; number <= 3; ++number) {
    ASSERT_EQ(StateOf(id), JobState::kConfiguring);
    ASSERT_EQ(Ref(id).attempt, number);
    Exit(GroupOf(id), 139);
  }
  EXPECT_EQ(StateOf(id), JobState::kFailed);
  EXPECT_EQ(JobOf(id).error,
            "attempt 3 ended as WORKER_CRASH on box-1: group g1-3 ended with exit code 139; no more than 3 "
            "attempts are "
            "made");
}

TEST_F(AttemptTest, IsTriedOnceMoreAfterItRanOutOfMemory) {
  const JobId id = Submit(Single());
  Exit(GroupOf(id), 1);
  Exit(GroupOf(id), 3);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  Exit(GroupOf(id), 3);
  EXPECT_EQ(StateOf(id), JobState::kFailed);
  EXPECT_EQ(Last(id).end, AttemptEnd::kOutOfMemory);
}

TEST_F(AttemptTest, IsTriedElsewhereEvenIfThatMeansToWait) {
  Connect(Box("box-2", {8}));
  const JobId first = Running(Single());
  const JobId second = Running(Single());
  Report(GroupOf(first), Ref(first), AttemptEnd::kGpuError);
  Exit("g1-1", 0);
  // box-1 is free, but failed it; box-2 works for another.
  EXPECT_EQ(StateOf(first), JobState::kPending);
  EXPECT_EQ(PendingReason(state_, JobOf(first)),
            "attempt 1 ended as GPU_ERROR on box-1: so it was; tried again; waits for 1 GPU with 6 B free "
            "(none is)");
  Report(GroupOf(second), Ref(second), AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(first), JobState::kConfiguring);
  EXPECT_EQ(Last(first).node, "box-2");
  EXPECT_TRUE(Last(first).warm);
}

TEST_F(AttemptTest, IsTriedOnTheSameNodeWhenThereIsNoOther) {
  const JobId id = Running(Single());
  Exit("g1-1", 139);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_EQ(Last(id).node, "box-1");
}

TEST_F(AttemptTest, CountsAsPreemptedWhenTheGroupCancelledItByItself) {
  const JobId id = Running(Single());
  Report("g1-1", Ref(id), AttemptEnd::kCancelled);
  EXPECT_EQ(JobOf(id).attempts[0].end, AttemptEnd::kPreempted);
  EXPECT_FALSE(JobOf(id).ended());
}

TEST_F(AttemptTest, DropsWhatItUploadedWhenItFails) {
  const JobId id = Running(Single());
  Do(ArtifactBegun{.group = "g1-1", .attempt = {id, 1}});
  Exit("g1-1", 1);
  ASSERT_THAT(Orders<DropUploads>(), SizeIs(1));
  EXPECT_EQ(Orders<DropUploads>()[0].attempt, (AttemptRef{id, 1}));
}

TEST_F(AttemptTest, MayNotReportOnceItIsOver) {
  const JobId id = Running(Single());
  Exit("g1-1", 1);
  ASSERT_EQ(Ref(id).attempt, 2);
  const Outcome late =
      Do(AttemptReported{.group = "g1-1", .attempt = {id, 1}, .end = AttemptEnd::kCompleted});
  EXPECT_THAT(late.changes, IsEmpty());
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>("g1-1", {id, 1}));
  EXPECT_THAT(Orders<DropUploads>(), SizeIs(1));
}

TEST_F(AttemptTest, IsOnlyAcknowledgedAgainWhenItsResultIsReportedAgain) {
  const JobId id = Running(Single());
  Report("g1-1", Ref(id), AttemptEnd::kCompleted);
  Report("g1-1", Ref(id), AttemptEnd::kCompleted);
  EXPECT_THAT(outcome_.changes, IsEmpty());
  ASSERT_THAT(outcome_.decisions, SizeIs(1));
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>("g1-1", {id, 1}));
}

TEST_F(AttemptTest, LosesNoFilesBecauseAnotherGroupReportsItsName) {
  const JobId id = Running(Single());
  Report("g9-9", Ref(id), AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  EXPECT_THAT(outcome_.changes, IsEmpty());
  EXPECT_THAT(Orders<DropUploads>(), IsEmpty());
}

}  // namespace
}  // namespace ovi::core
