#include "coordinator/core/state.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/core/durable.h"

namespace ovi::core {
namespace {

const JobAdded kAdded{
    .job = 1, .at = 10, .request_id = "r", .request = {.model_name = "mini"}, .spec = "spec"};
const AttemptStarted kStarted{
    .attempt = {1, 1}, .at = 20, .group = "g1-1", .node = "box-1", .gpu_indices = {0}};
const AttemptAdvanced kRuns{.attempt = {1, 1}, .at = 30, .state = JobState::kRunning};
const AttemptAdvanced kCompletes{.attempt = {1, 1}, .at = 40, .state = JobState::kCompleting};
const AttemptEnded kCompleted{.attempt = {1, 1}, .at = 50, .end = AttemptEnd::kCompleted};
const AttemptEnded kCrashed{
    .attempt = {1, 1}, .at = 50, .end = AttemptEnd::kWorkerCrash, .message = "exit code 1"};
const JobFinished kDone{.job = 1, .at = 50, .state = JobState::kCompleted};
const JobFinished kFailed{.job = 1, .at = 50, .state = JobState::kFailed, .error = "why"};
const JobFinished kGone{.job = 1, .at = 50, .state = JobState::kCancelled};
const CancelRequested kCancel{.job = 1, .at = 45};
const JobForgotten kForgotten{.job = 1};

struct Row {
  std::string name;
  std::vector<Change> before;
  Change change;
  bool legal;
};

AttemptStarted Second() {
  AttemptStarted started = kStarted;
  started.attempt.attempt = 2;
  return started;
}

JobAdded Added(JobId id, const std::string& request_id) {
  JobAdded added = kAdded;
  added.job = id;
  added.request_id = request_id;
  return added;
}

TEST(Apply, TakesWhatCanFollowAndRefusesTheRestWithoutATrace) {
  AttemptStarted no_gpus = kStarted;
  no_gpus.gpu_indices.clear();
  AttemptEnded no_end = kCrashed;
  no_end.end = AttemptEnd::kNone;
  JobFinished no_end_state = kDone;
  no_end_state.state = JobState::kRunning;
  const std::vector<Row> rows = {
      {"first job", {}, kAdded, true},
      {"ids may have gaps: forgotten jobs", {}, Added(7, "r"), true},
      {"an id again", {kAdded}, Added(1, "s"), false},
      {"an id below the last", {Added(7, "r")}, Added(6, "s"), false},
      {"a request_id again", {kAdded}, Added(2, "r"), false},
      {"no request_id twice", {Added(1, "")}, Added(2, ""), true},
      {"attempt of a pending job", {kAdded}, kStarted, true},
      {"attempt of an unknown job", {}, kStarted, false},
      {"attempt beside a current one", {kAdded, kStarted}, Second(), false},
      {"attempt with a gap in its number", {kAdded}, Second(), false},
      {"second attempt", {kAdded, kStarted, kCrashed}, Second(), true},
      {"attempt of a finished job", {kAdded, kStarted, kCrashed, kFailed}, Second(), false},
      {"attempt without GPUs", {kAdded}, no_gpus, false},
      {"CONFIGURING -> RUNNING", {kAdded, kStarted}, kRuns, true},
      {"RUNNING -> RUNNING", {kAdded, kStarted, kRuns}, kRuns, false},
      {"CONFIGURING -> COMPLETING", {kAdded, kStarted}, kCompletes, false},
      {"RUNNING -> COMPLETING", {kAdded, kStarted, kRuns}, kCompletes, true},
      {"advance of an ended attempt", {kAdded, kStarted, kCrashed}, kRuns, false},
      {"advance back to CONFIGURING",
       {kAdded, kStarted, kRuns},
       AttemptAdvanced{.attempt = {1, 1}, .at = 40, .state = JobState::kConfiguring},
       false},
      {"advance to an end",
       {kAdded, kStarted, kRuns, kCompletes},
       AttemptAdvanced{.attempt = {1, 1}, .at = 40, .state = JobState::kCompleted},
       false},
      {"end of the current attempt", {kAdded, kStarted}, kCrashed, true},
      {"end twice", {kAdded, kStarted, kCrashed}, kCrashed, false},
      {"end without a kind", {kAdded, kStarted}, no_end, false},
      {"end of an older attempt", {kAdded, kStarted, kCrashed, Second()}, kCrashed, false},
      {"completed", {kAdded, kStarted, kRuns, kCompletes, kCompleted}, kDone, true},
      {"completed without a result", {kAdded, kStarted, kCrashed}, kDone, false},
      {"failed in spite of a result", {kAdded, kStarted, kCompleted}, kFailed, false},
      {"cancelled in spite of a result", {kAdded, kStarted, kCompleted}, kGone, false},
      {"failed after a failed attempt", {kAdded, kStarted, kCrashed}, kFailed, true},
      {"finished with an attempt going on", {kAdded, kStarted}, kFailed, false},
      {"finished twice", {kAdded, kStarted, kCrashed, kFailed}, kFailed, false},
      {"finished as RUNNING", {kAdded, kStarted, kCompleted}, no_end_state, false},
      {"pending job cancelled", {kAdded, kCancel}, kGone, true},
      {"cancel of a running job", {kAdded, kStarted}, kCancel, true},
      {"cancel twice", {kAdded, kCancel}, kCancel, false},
      {"cancel of a finished job", {kAdded, kStarted, kCrashed, kFailed}, kCancel, false},
      {"cancel of an unknown job", {}, kCancel, false},
      {"finished job forgotten", {kAdded, kStarted, kCrashed, kFailed}, kForgotten, true},
      {"pending job forgotten", {kAdded}, kForgotten, false},
      {"unknown job forgotten", {}, kForgotten, false},
      {"node drained", {}, NodeDrained{.node = "box-1", .reason = "fan"}, true},
      {"node drained again for another reason",
       {NodeDrained{.node = "box-1", .reason = "fan"}},
       NodeDrained{.node = "box-1", .reason = "move"},
       true},
      {"node resumed", {NodeDrained{.node = "box-1"}}, NodeResumed{.node = "box-1"}, true},
      {"node resumed that was not drained", {}, NodeResumed{.node = "box-1"}, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    State state;
    for (const Change& change : row.before) ASSERT_TRUE(Apply(state, change).ok());
    const State before = state;
    const absl::Status applied = Apply(state, row.change);
    EXPECT_EQ(applied.ok(), row.legal) << applied;
    if (!row.legal) {
      EXPECT_EQ(applied.code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_EQ(DurableDifference(state, before), "");
    }
  }
}

TEST(Apply, KeepsEveryJobInExactlyOneIndex) {
  State state;
  const auto sizes = [&state] {
    return std::vector<std::size_t>{state.queue.size(), state.active.size(), state.finished.size()};
  };
  using Sizes = std::vector<std::size_t>;
  ASSERT_TRUE(Apply(state, kAdded).ok());
  EXPECT_EQ(sizes(), (Sizes{1, 0, 0}));
  ASSERT_TRUE(Apply(state, kStarted).ok());
  EXPECT_EQ(sizes(), (Sizes{0, 1, 0}));
  ASSERT_TRUE(Apply(state, kCrashed).ok());
  EXPECT_EQ(sizes(), (Sizes{1, 0, 0}));
  EXPECT_EQ(state.jobs.at(1).pending_reason,
            "attempt 1 ended as WORKER_CRASH on box-1: exit code 1; tried again");
  ASSERT_TRUE(Apply(state, kFailed).ok());
  EXPECT_EQ(sizes(), (Sizes{0, 0, 1}));
  EXPECT_EQ(state.jobs.at(1).pending_reason, "");
  EXPECT_EQ(state.request_ids.size(), 1u);
  ASSERT_TRUE(Apply(state, kForgotten).ok());
  EXPECT_EQ(sizes(), (Sizes{0, 0, 0}));
  EXPECT_TRUE(state.jobs.empty());
  EXPECT_TRUE(state.request_ids.empty());
  EXPECT_EQ(state.next_job, 2);
}

TEST(Apply, QueuesByPriorityThenAge) {
  State state;
  for (JobId id = 1; id <= 4; ++id) {
    JobAdded added = Added(id, "");
    added.request.priority = id == 3 ? 5 : id == 2 ? -1 : 0;
    ASSERT_TRUE(Apply(state, added).ok());
  }
  std::vector<JobId> order;
  for (const QueueKey& key : state.queue) order.push_back(key.job);
  EXPECT_EQ(order, (std::vector<JobId>{3, 1, 4, 2}));
}

TEST(CurrentJob, IsTheJobWhoseLastAttemptGoesOn) {
  State state;
  for (const Change& change : std::vector<Change>{kAdded, kStarted}) ASSERT_TRUE(Apply(state, change).ok());
  EXPECT_EQ(CurrentJob(state, {1, 1}), &state.jobs.at(1));
  EXPECT_EQ(CurrentJob(state, {1, 2}), nullptr);
  EXPECT_EQ(CurrentJob(state, {2, 1}), nullptr);
  EXPECT_EQ(CurrentJob(state, {0, 0}), nullptr);
  ASSERT_TRUE(Apply(state, kCrashed).ok());
  EXPECT_EQ(CurrentJob(state, {1, 1}), nullptr);
}

}  // namespace
}  // namespace ovi::core
