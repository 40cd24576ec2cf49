// Groups as they come, go and come back.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class GroupTest : public CoreTest {
 protected:
  void SetUp() override { Connect(Box("box-1", {8})); }
  GroupFound Stranger(const GroupId& id) {
    return {.group = id, .gpu_indices = {0}, .bytes_per_rank = 6, .model_name = "mini"};
  }
};

struct ExitRow {
  std::string name;
  GroupExited exited;
  AttemptEnd end;
  std::string message;
};

TEST_F(GroupTest, EndsItsAttemptAsItsExitTells) {
  const std::vector<ExitRow> rows = {
      {"not started",
       {.launched = false, .output_tail = "no mpirun"},
       AttemptEnd::kLaunchFailed,
       "could not be started: no mpirun"},
      {"success without a result",
       {.launched = true, .exit_code = 0},
       AttemptEnd::kWorkerCrash,
       "ended without a result"},
      {"bug", {.launched = true, .exit_code = 1}, AttemptEnd::kWorkerCrash, "ended with exit code 1"},
      {"its own bad input",
       {.launched = true, .exit_code = 2},
       AttemptEnd::kLaunchFailed,
       "ended with exit code 2"},
      {"out of memory",
       {.launched = true, .exit_code = 3},
       AttemptEnd::kOutOfMemory,
       "ended with exit code 3"},
      {"peer lost", {.launched = true, .exit_code = 4}, AttemptEnd::kWorkerCrash, "ended with exit code 4"},
      {"coordinator lost",
       {.launched = true, .exit_code = 5},
       AttemptEnd::kNodeFail,
       "ended with exit code 5"},
      {"rejected", {.launched = true, .exit_code = 6}, AttemptEnd::kNodeFail, "ended with exit code 6"},
      {"signal of a rank",
       {.launched = true, .exit_code = 139},
       AttemptEnd::kWorkerCrash,
       "ended with exit code 139"},
      {"signal of mpirun",
       {.launched = true, .exit_code = 3, .signal = 9},
       AttemptEnd::kWorkerCrash,
       "was killed by signal 9"},
      {"nobody knows",
       {.launched = true, .exit_code = -1},
       AttemptEnd::kWorkerCrash,
       "ended, nobody saw how"},
      {"last words",
       {.launched = true, .exit_code = 1, .output_tail = "a\nb\n\n  c\x1b[31m \nd\n"},
       AttemptEnd::kWorkerCrash,
       "ended with exit code 1: b | c\\x1b[31m | d"},
  };
  for (const ExitRow& row : rows) {
    SCOPED_TRACE(row.name);
    const JobId id = Running(Single());
    GroupExited exited = row.exited;
    exited.node = "box-1";
    exited.group = GroupOf(id);
    Do(exited);
    EXPECT_EQ(JobOf(id).attempts[0].end, row.end);
    EXPECT_EQ(JobOf(id).attempts[0].message, absl::StrCat("group ", exited.group, " ", row.message));
    EXPECT_FALSE(state_.groups.contains(exited.group));
    Do(CancelAsked{.job = id});
    Exit(GroupOf(id), 0);
  }
}

TEST_F(GroupTest, SaysTheEndOfALongStory) {
  const JobId id = Running(Single());
  const std::string long_line(5000, 'x');
  Do(GroupExited{.node = "box-1",
                 .group = "g1-1",
                 .launched = true,
                 .exit_code = 1,
                 .output_tail = long_line + "THE END"});
  const std::string& message = JobOf(id).attempts[0].message;
  EXPECT_LT(message.size(), 700u);
  EXPECT_THAT(message, testing::EndsWith("THE END"));
}

TEST_F(GroupTest, ExitsOnceAndOnlyOnItsOwnNode) {
  const JobId id = Running(Single());
  Exit("g1-1", 1, "box-2");
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  Exit("g1-1", 1);
  ASSERT_EQ(Ref(id).attempt, 2);
  EXPECT_THAT(Exit("g1-1", 1).changes, IsEmpty());
  EXPECT_THAT(Exit("g7-7", 1).changes, IsEmpty());
}

TEST_F(GroupTest, EndsNothingWhenItExitsAfterItsReport) {
  const GroupId group = Warm(Single());
  EXPECT_THAT(Exit(group, 0).changes, IsEmpty());
  EXPECT_THAT(state_.groups, IsEmpty());
}

TEST_F(GroupTest, IsUsedAgainWhileWarm) {
  const GroupId group = Warm(Single());
  const JobId id = Submit(Single());
  EXPECT_TRUE(Ordered<RunAttempt>(group, {id, 1}));
  EXPECT_THAT(Orders<StartGroup>(), IsEmpty());
  EXPECT_TRUE(Last(id).warm);
  EXPECT_EQ(Last(id).group, group);
  EXPECT_EQ(state_.groups.at(group).state, GroupState::kBusy);
}

TEST_F(GroupTest, GetsItsOrderAgainWhenItComesBackWithoutTheAttempt) {
  const JobId id = Submit(Single());
  Attach("g1-1");
  Do(GroupDetached{.group = "g1-1"});
  EXPECT_FALSE(state_.groups.at("g1-1").attached);
  EXPECT_TRUE(Attach("g1-1").reply.ok());
  EXPECT_TRUE(Ordered<RunAttempt>("g1-1", {id, 1}));
}

TEST_F(GroupTest, GoesOnWhenItComesBackWithTheAttempt) {
  const JobId id = Running(Single());
  Do(GroupDetached{.group = "g1-1"});
  Wait(1'000);
  Attach("g1-1", Ref(id));
  EXPECT_THAT(outcome_.decisions, IsEmpty());
  EXPECT_THAT(outcome_.changes, IsEmpty());
  EXPECT_EQ(JobOf(id).last_sign_at, now_);
}

TEST_F(GroupTest, IsTurnedAwayOnceItWasGivenUp) {
  const JobId id = Submit(Single());
  Do(CancelAsked{.job = id});
  EXPECT_TRUE(absl::IsFailedPrecondition(Attach("g1-1").reply.status()));
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
  EXPECT_EQ(state_.groups.at("g1-1").state, GroupState::kStopping);
}

TEST_F(GroupTest, CancelsALateAttemptAndIsFreeAfterItsReport) {
  const GroupId group = Warm(Single());
  Attach(group, {1, 1});  // it has not heard that its report arrived
  EXPECT_TRUE(Ordered<CancelAttempt>(group, {1, 1}));
  const JobId id = Submit(Single());
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Attach(group);  // older than the last: not yet free
  EXPECT_TRUE(Ordered<CancelAttempt>(group, {1, 1}));
  EXPECT_EQ(StateOf(id), JobState::kPending);
  Report(group, {1, 1}, AttemptEnd::kCompleted);
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>(group, {1, 1}));
  EXPECT_THAT(Orders<DropUploads>(), IsEmpty());
  EXPECT_TRUE(Ordered<RunAttempt>(group, {id, 1}));
}

TEST_F(GroupTest, IsStoppedWhenItDoesNotLetGoOfALateAttempt) {
  const GroupId group = Warm(Single());
  Attach(group, {1, 1});
  TickAfter(state_.policy.cancel_ms_max - 1);
  EXPECT_FALSE(Ordered<StopGroup>(group));
  Hear("box-1");
  TickAfter(1);
  EXPECT_TRUE(Ordered<StopGroup>(group));
}

TEST_F(GroupTest, GetsItsNextAttemptOnceTheLateOneIsOutOfTheWay) {
  const GroupId group = Warm(Single());
  const JobId id = Submit(Single());
  Do(GroupDetached{.group = group});
  Attach(group, {1, 1});
  EXPECT_TRUE(Ordered<CancelAttempt>(group, {1, 1}));
  EXPECT_FALSE(Ordered<RunAttempt>(group));
  Report(group, {1, 1}, AttemptEnd::kCompleted);
  EXPECT_TRUE(Ordered<AcknowledgeAttempt>(group, {1, 1}));
  EXPECT_TRUE(Ordered<RunAttempt>(group, {id, 1}));
  EXPECT_FALSE(Ordered<CancelAttempt>(group));
  Do(CancelAsked{.job = id});
  Report(group, {1, 1}, AttemptEnd::kCompleted);
  EXPECT_TRUE(Ordered<CancelAttempt>(group, {id, 1}));
}

TEST_F(GroupTest, MayStayThoughUnknownWhereItsMemoryIsFree) {
  EXPECT_TRUE(Do(GroupAttached{.group = Stranger("g8-1"), .node = "box-1"}).reply.ok());
  EXPECT_EQ(state_.groups.at("g8-1").state, GroupState::kIdle);
  const JobId id = Submit(Single());
  EXPECT_TRUE(Ordered<RunAttempt>("g8-1", {id, 1}));
}

TEST_F(GroupTest, MayNotStayWhereItsMemoryWasPromisedToAnother) {
  Submit(Single());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Do(GroupAttached{.group = Stranger("g8-1"), .node = "box-1"}).reply.status()));
  EXPECT_TRUE(Ordered<StopGroup>("g8-1"));
  // Nor is its memory free before it has ended.
  EXPECT_EQ(BytesFreeOf("box-1"), 0);
}

TEST_F(GroupTest, OfAnUnknownNodeMayStayOnlyShortlyAfterOurStart) {
  state_.started_at = now_;
  EXPECT_TRUE(Do(GroupAttached{.group = Stranger("g8-1"), .node = "box-9"}).reply.ok());
  Wait(state_.policy.reconnect_ms_max);
  EXPECT_FALSE(Do(GroupAttached{.group = Stranger("g9-1"), .node = "box-9"}).reply.ok());
  EXPECT_TRUE(Ordered<StopGroup>("g9-1"));
}

TEST_F(GroupTest, MayClaimAnyNumberOfBytesWithoutAnOverflow) {
  for (int i = 0; i < 4; ++i) {
    GroupFound huge = Stranger(absl::StrCat("g", 20 + i, "-1"));
    huge.bytes_per_rank = std::numeric_limits<std::int64_t>::max();
    Connect(Box("box-1", {8}), {huge});
  }
  EXPECT_EQ(BytesFreeOf("box-1"), 0);
}

}  // namespace
}  // namespace ovi::core
