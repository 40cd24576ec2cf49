#include "coordinator/core/retry.h"

#include <gtest/gtest.h>

#include <vector>

namespace ovi::core {
namespace {

struct Row {
  AttemptEnd end;
  AttemptCounts counts;
  NextStep next;
};

TEST(AfterAttempt, FollowsTheTable) {
  using enum AttemptEnd;
  const std::vector<Row> rows = {
      {kCompleted, {.all = 1}, NextStep::kFinish},
      {kCompleted, {.all = 3}, NextStep::kFinish},
      {kCancelled, {.all = 1}, NextStep::kFinish},
      {kBadInput, {.all = 1}, NextStep::kGiveUp},
      {kOutOfMemory, {.all = 1, .out_of_memory = 1}, NextStep::kRetryElsewhere},
      {kOutOfMemory, {.all = 2, .out_of_memory = 1}, NextStep::kRetryElsewhere},
      {kOutOfMemory, {.all = 2, .out_of_memory = 2}, NextStep::kGiveUp},
      {kOutOfMemory, {.all = 3, .out_of_memory = 1}, NextStep::kGiveUp},
      {kNodeFail, {.all = 2}, NextStep::kRetryElsewhere},
      {kNodeFail, {.all = 3}, NextStep::kGiveUp},
      {kGpuError, {.all = 2}, NextStep::kRetryElsewhere},
      {kGpuError, {.all = 3}, NextStep::kGiveUp},
      {kWorkerCrash, {.all = 2}, NextStep::kRetryElsewhere},
      {kWorkerCrash, {.all = 3}, NextStep::kGiveUp},
      {kTimeout, {.all = 2}, NextStep::kRetryElsewhere},
      {kTimeout, {.all = 3}, NextStep::kGiveUp},
      {kLaunchFailed, {.all = 2}, NextStep::kRetryElsewhere},
      {kLaunchFailed, {.all = 3}, NextStep::kGiveUp},
      {kNodeNotReady, {.all = 2}, NextStep::kRetryOnlyElsewhere},
      {kNodeNotReady, {.all = 3}, NextStep::kRetryOnlyElsewhere},
      {kPreempted, {.all = 2}, NextStep::kRetryAnywhere},
      {kPreempted, {.all = 3}, NextStep::kGiveUp},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(AfterAttempt(row.end, row.counts, {.attempts_max = 3}), row.next)
        << ToString(row.end) << " after " << row.counts.all << " attempts";
  }
  EXPECT_EQ(AfterAttempt(kNodeFail, {.all = 1}, {.attempts_max = 1}), NextStep::kGiveUp);
}

TEST(IsLegal, KnowsTheArrowsOfTheDiagramAndNoOthers) {
  using enum JobState;
  const std::vector<JobState> all = {kPending,   kConfiguring, kRunning,  kCompleting,
                                     kCompleted, kFailed,      kCancelled};
  // From each state, in the order of `all`.
  const std::vector<std::vector<bool>> legal = {{false, true, false, false, false, true, true},  // PENDING
                                                {true, false, true, false, false, true, true},  // CONFIGURING
                                                {true, false, false, true, false, true, true},  // RUNNING
                                                {true, false, false, false, true, true, true},  // COMPLETING
                                                std::vector<bool>(7, false),
                                                std::vector<bool>(7, false),
                                                std::vector<bool>(7, false)};
  for (std::size_t from = 0; from < all.size(); ++from) {
    for (std::size_t to = 0; to < all.size(); ++to) {
      EXPECT_EQ(IsLegal(all[from], all[to]), legal[from][to])
          << ToString(all[from]) << " -> " << ToString(all[to]);
    }
  }
}

TEST(Describe, SaysWhichAttemptEndedHowAndWhere) {
  Attempt attempt{.number = 2, .node = "box-1", .end = AttemptEnd::kWorkerCrash, .message = "exit code 139"};
  EXPECT_EQ(Describe(attempt), "attempt 2 ended as WORKER_CRASH on box-1: exit code 139");
  attempt.message.clear();
  attempt.end = AttemptEnd::kOutOfMemory;
  EXPECT_EQ(Describe(attempt), "attempt 2 ended as OUT_OF_MEMORY on box-1");
}

}  // namespace
}  // namespace ovi::core
