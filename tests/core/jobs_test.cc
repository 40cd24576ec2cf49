// What users ask for: submitting and cancelling.
#include "tests/core/fixture.h"

namespace ovi::core {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class SubmitTest : public CoreTest {};
class CancelTest : public CoreTest {
 protected:
  const Outcome& Ask(JobId id) { return Do(CancelAsked{.job = id}); }
};

TEST_F(SubmitTest, StartsAGroupForTheJobWhereThereIsRoom) {
  Connect(Box("box-1", {8}));
  const JobId id = Submit(Single());
  EXPECT_EQ(id, 1);
  EXPECT_EQ(StateOf(id), JobState::kConfiguring);
  const std::vector<StartGroup> starts = Orders<StartGroup>();
  ASSERT_THAT(starts, SizeIs(1));
  EXPECT_EQ(starts[0].group, "g1-1");
  EXPECT_EQ(starts[0].node, "box-1");
  EXPECT_EQ(starts[0].gpu_indices, std::vector<int>{0});
  EXPECT_EQ(starts[0].bytes_per_rank, 6);
  EXPECT_EQ(starts[0].model_name, "mini");
  EXPECT_THAT(outcome_.touched, ElementsAre(id));
}

TEST_F(SubmitTest, AnswersARepeatedRequestWithTheSameJob) {
  const JobId id = Submit(Single(), "once");
  EXPECT_EQ(Submit(Single(), "once"), id);
  EXPECT_THAT(outcome_.changes, IsEmpty());
  EXPECT_NE(Submit(Single(), "twice"), id);
  EXPECT_NE(Submit(Single()), Submit(Single()));  // no request_id, no promise
}

TEST_F(SubmitTest, RefusesARequestIdThatWasUsedForSomethingElse) {
  Submit(Single(), "once");
  EXPECT_EQ(SubmitBatch({{.request_id = "once", .request = Single(), .spec = "another"}}).status(),
            absl::AlreadyExistsError("request_id: \"once\" was used for job 1, which differs"));
  EXPECT_EQ(state_.jobs.size(), 1u);
}

TEST_F(SubmitTest, KnowsARepeatedRequestAlsoWhereAnOldJournalLacksAFieldOfIt) {
  JobRequest now = Single();
  now.low_rank = true;
  const JobId id = Submit(Single(), "once");
  EXPECT_EQ(Submit(now, "once"), id);
}

TEST_F(SubmitTest, RefusesWhatNoNodeCouldEverHold) {
  Connect(Box("box-1", {8}));
  EXPECT_TRUE(absl::IsFailedPrecondition(SubmitBatch({{.request = Multi(2), .spec = "spec"}}).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(SubmitBatch({{.request = Single("unknown"), .spec = "spec"}}).status()));
  EXPECT_THAT(state_.jobs, IsEmpty());
}

TEST_F(SubmitTest, KeepsWarningsAndTakesAnythingBeforeANodeIsKnown) {
  SubmitBatch({{.request = Single("unknown"), .spec = "spec", .warnings = {"no sound"}}});
  EXPECT_THAT(JobOf(1).warnings, ElementsAre("no sound"));
  EXPECT_EQ(StateOf(1), JobState::kPending);
}

TEST_F(SubmitTest, AnswersABatchInItsOrderAndStartsWhatItCan) {
  Connect(Box("box-1", {8, 8}));
  const JobSubmitted job{.request = Single(), .spec = "spec"};
  EXPECT_THAT(SubmitBatch({job, job, job}).value(), ElementsAre(1, 2, 3));
  EXPECT_THAT(outcome_.touched, ElementsAre(1, 2, 3));
  EXPECT_THAT(Orders<StartGroup>(), SizeIs(2));
  EXPECT_EQ(StateOf(3), JobState::kPending);
}

TEST_F(SubmitTest, TakesNothingOfABatchOfWhichOneIsRefused) {
  Connect(Box("box-1", {8}));
  Submit(Single(), "used");
  const JobSubmitted good{.request = Single(), .spec = "spec"};
  const auto with_id = [](const std::string& id, const std::string& spec) {
    return JobSubmitted{.request_id = id, .request = Single(), .spec = spec};
  };
  const struct {
    std::vector<JobSubmitted> jobs;
    absl::StatusCode code;
    std::string message;
  } rows[] = {
      {{good, with_id("used", "another")},
       absl::StatusCode::kAlreadyExists,
       "requests[1]: request_id: \"used\" was used for job 1, which differs"},
      {{with_id("new", "spec"), good, with_id("new", "another")},
       absl::StatusCode::kAlreadyExists,
       "requests[2]: request_id: \"new\" was used for requests[0], which differs"},
      {{good, good, {.request = Multi(2), .spec = "spec"}},
       absl::StatusCode::kFailedPrecondition,
       "requests[2]: needs 2 GPUs"},
  };
  for (const auto& row : rows) {
    const absl::Status status = SubmitBatch(row.jobs).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
    EXPECT_THAT(outcome_.changes, IsEmpty());
    EXPECT_EQ(state_.jobs.size(), 1u);
  }
}

TEST_F(SubmitTest, TakesEqualRequestsOfABatchOnceAlsoWhenItIsRepeated) {
  const auto with_id = [](const std::string& id) {
    return JobSubmitted{.request_id = id, .request = Single(), .spec = "spec"};
  };
  EXPECT_THAT(SubmitBatch({with_id("a"), with_id("b"), with_id("a")}).value(), ElementsAre(1, 2, 1));
  EXPECT_THAT(SubmitBatch({with_id("b"), with_id("c"), with_id("a")}).value(), ElementsAre(2, 3, 1));
  EXPECT_THAT(SubmitBatch({with_id("c"), with_id("b")}).value(), ElementsAre(3, 2));
  EXPECT_THAT(outcome_.changes, IsEmpty());
}

TEST_F(SubmitTest, TakesNoMoreThanTheQueueHasRoomFor) {
  state_.policy.pending_jobs_max = 3;
  const JobSubmitted job{.request = Single(), .spec = "spec"};
  EXPECT_THAT(SubmitBatch({job, {.request_id = "b", .request = Single(), .spec = "spec"}}).value(),
              SizeIs(2));
  EXPECT_EQ(SubmitBatch({job, job}).status(),
            absl::ResourceExhaustedError("the queue has no room for 2 more: 2 of at most 3 jobs wait"));
  EXPECT_EQ(state_.jobs.size(), 2u);
  EXPECT_EQ(Submit(Single()), 3);
  EXPECT_TRUE(absl::IsResourceExhausted(SubmitBatch({job}).status()));
  EXPECT_EQ(Submit(Single(), "b"), 2) << "a repeated one needs no room";
}

TEST_F(SubmitTest, AsksForRoomBeforeItAsksWhatFits) {
  Connect(Box("box-1", {8}));
  state_.policy.pending_jobs_max = 2;
  const JobSubmitted good{.request = Single(), .spec = "spec"};
  const JobSubmitted too_large{.request = Multi(2), .spec = "spec"};
  EXPECT_TRUE(absl::IsFailedPrecondition(SubmitBatch({good, too_large}).status()));
  EXPECT_THAT(SubmitBatch({good, good}).value(), SizeIs(2));  // one runs, one waits
  EXPECT_TRUE(absl::IsResourceExhausted(SubmitBatch({good, too_large}).status()));
}

TEST_F(SubmitTest, TellsABatchThatNeverHasRoomNotToTryAgain) {
  state_.policy.pending_jobs_max = 2;
  const JobSubmitted job{.request = Single(), .spec = "spec"};
  EXPECT_EQ(SubmitBatch({job, job, job}).status(),
            absl::FailedPreconditionError(
                "a batch of 3 new jobs never has room: at most 2 jobs wait (pending_jobs_max)"));
}

TEST_F(SubmitTest, ForgetsOldJobsWithTheirFilesAHundredATick) {
  for (int i = 0; i < 150; ++i) Do(CancelAsked{.job = Submit(Single(), absl::StrCat("r", i))});
  TickAfter(state_.policy.job_kept_ms_max - 1);
  EXPECT_EQ(state_.jobs.size(), 150u);
  TickAfter(1);
  EXPECT_EQ(state_.jobs.size(), 50u);
  EXPECT_THAT(Orders<DeleteJobFiles>(), SizeIs(100));
  TickAfter(0);
  EXPECT_THAT(state_.jobs, IsEmpty());
  EXPECT_THAT(state_.request_ids, IsEmpty());
  EXPECT_EQ(Submit(Single(), "r0"), 151);  // an id is never used twice
}

TEST_F(CancelTest, EndsAPendingJobAtOnce) {
  const JobId id = Submit(Single());
  EXPECT_TRUE(Ask(id).reply.ok());
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
  EXPECT_TRUE(JobOf(id).cancel_requested);
  EXPECT_EQ(JobOf(id).finished_at, now_);
}

TEST_F(CancelTest, KnowsNoOtherJobsAndLeavesEndedOnesAlone) {
  EXPECT_TRUE(absl::IsNotFound(Ask(7).reply.status()));
  const JobId id = Submit(Single());
  Ask(id);
  EXPECT_TRUE(Ask(id).reply.ok());
  EXPECT_THAT(outcome_.changes, IsEmpty());
}

TEST_F(CancelTest, EndsAJobWhoseGroupStartsAndStopsTheGroup) {
  Connect(Box("box-1", {8}));
  const JobId id = Submit(Single());
  Ask(id);
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
  EXPECT_EQ(Last(id).end, AttemptEnd::kCancelled);
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
  // The memory is not free before the group is gone.
  EXPECT_EQ(StateOf(Submit(Single())), JobState::kPending);
  Exit("g1-1", 0);
  EXPECT_EQ(StateOf(2), JobState::kConfiguring);
}

TEST_F(CancelTest, AsksTheGroupOfARunningJobAndWaitsForItsAnswer) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Ask(id);
  EXPECT_TRUE(Ordered<CancelAttempt>("g1-1", Ref(id)));
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  EXPECT_THAT(Ask(id).changes, IsEmpty());
  Report("g1-1", Ref(id), AttemptEnd::kCancelled);
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
  EXPECT_EQ(state_.groups.at("g1-1").state, GroupState::kIdle);
}

TEST_F(CancelTest, LetsAResultThatIsCompleteWin) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Do(ArtifactBegun{.group = "g1-1", .attempt = Ref(id)});
  Ask(id);
  Report("g1-1", Ref(id), AttemptEnd::kCompleted);
  EXPECT_EQ(StateOf(id), JobState::kCompleted);
}

TEST_F(CancelTest, StopsTheGroupThatDoesNotAnswer) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Ask(id);
  TickAfter(state_.policy.cancel_ms_max - 1);
  EXPECT_EQ(StateOf(id), JobState::kRunning);
  TickAfter(1);
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
  EXPECT_EQ(Last(id).message, "did not stop within 10 s; its group was stopped");
  EXPECT_TRUE(Ordered<StopGroup>("g1-1"));
}

TEST_F(CancelTest, IsNeverFollowedByAnotherAttempt) {
  for (const AttemptEnd end : {AttemptEnd::kWorkerCrash, AttemptEnd::kGpuError, AttemptEnd::kOutOfMemory}) {
    Connect(Box("box-1", {8}));
    const JobId id = Running(Single());
    Ask(id);
    Report(GroupOf(id), Ref(id), end);
    EXPECT_EQ(StateOf(id), JobState::kCancelled);
    EXPECT_EQ(Last(id).end, end);
    Exit(GroupOf(id), 0);
  }
  const JobId id = Running(Single());
  Ask(id);
  Exit(GroupOf(id), 1);
  EXPECT_EQ(StateOf(id), JobState::kCancelled);
}

TEST_F(CancelTest, ReachesAGroupThatIsDetachedOnceItComesBack) {
  Connect(Box("box-1", {8}));
  const JobId id = Running(Single());
  Do(GroupDetached{.group = "g1-1"});
  Ask(id);
  Attach("g1-1", Ref(id));
  EXPECT_TRUE(Ordered<CancelAttempt>("g1-1", Ref(id)));
  EXPECT_FALSE(Ordered<RunAttempt>("g1-1"));
}

TEST_F(CancelTest, ReachesAGroupThatHasNotHeardOfTheAttemptYet) {
  Connect(Box("box-1", {8}));
  const JobId id = Submit(Single());
  Attach("g1-1");
  Do(GroupDetached{.group = "g1-1"});
  Ask(id);
  // It begins only to end at once: what it says is then true, however late its hello was.
  Attach("g1-1");
  ASSERT_THAT(outcome_.decisions, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<RunAttempt>(outcome_.decisions[0]));
  EXPECT_TRUE(std::holds_alternative<CancelAttempt>(outcome_.decisions[1]));
}

}  // namespace
}  // namespace ovi::core
