#include "coordinator/core/retry.h"

#include "absl/strings/str_cat.h"

namespace ovi::core {

NextStep AfterAttempt(AttemptEnd end, const AttemptCounts& counts, const Policy& policy) {
  const bool tries_left = counts.all < policy.attempts_max;
  switch (end) {
    case AttemptEnd::kCompleted:
    case AttemptEnd::kCancelled:
      return NextStep::kFinish;
    case AttemptEnd::kBadInput:
      return NextStep::kGiveUp;  // it would fail anywhere
    case AttemptEnd::kOutOfMemory:
      return tries_left && counts.out_of_memory < policy.out_of_memory_attempts_max
                 ? NextStep::kRetryElsewhere
                 : NextStep::kGiveUp;
    case AttemptEnd::kNodeFail:
    case AttemptEnd::kGpuError:
    case AttemptEnd::kWorkerCrash:
    case AttemptEnd::kTimeout:
    case AttemptEnd::kLaunchFailed:
      return tries_left ? NextStep::kRetryElsewhere : NextStep::kGiveUp;
    case AttemptEnd::kNodeNotReady:
      return NextStep::kRetryOnlyElsewhere;  // nothing changes there by itself
    case AttemptEnd::kPreempted:
    case AttemptEnd::kNone:
      return tries_left ? NextStep::kRetryAnywhere : NextStep::kGiveUp;
  }
  return NextStep::kGiveUp;
}

const char* ToString(AttemptEnd end) {
  switch (end) {
    case AttemptEnd::kNone:
      return "UNSPECIFIED";
    case AttemptEnd::kCompleted:
      return "COMPLETED";
    case AttemptEnd::kOutOfMemory:
      return "OUT_OF_MEMORY";
    case AttemptEnd::kNodeFail:
      return "NODE_FAIL";
    case AttemptEnd::kGpuError:
      return "GPU_ERROR";
    case AttemptEnd::kWorkerCrash:
      return "WORKER_CRASH";
    case AttemptEnd::kTimeout:
      return "TIMEOUT";
    case AttemptEnd::kLaunchFailed:
      return "LAUNCH_FAILED";
    case AttemptEnd::kBadInput:
      return "BAD_INPUT";
    case AttemptEnd::kPreempted:
      return "PREEMPTED";
    case AttemptEnd::kCancelled:
      return "CANCELLED";
    case AttemptEnd::kNodeNotReady:
      return "NODE_NOT_READY";
  }
  return "UNSPECIFIED";
}

const char* ToString(JobState state) {
  switch (state) {
    case JobState::kPending:
      return "PENDING";
    case JobState::kConfiguring:
      return "CONFIGURING";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kCompleting:
      return "COMPLETING";
    case JobState::kCompleted:
      return "COMPLETED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "UNSPECIFIED";
}

std::string Describe(const Attempt& attempt) {
  return absl::StrCat("attempt ", attempt.number, " ended as ", ToString(attempt.end), " on ", attempt.node,
                      attempt.message.empty() ? "" : ": ", attempt.message);
}

bool IsLegal(JobState from, JobState to) {
  if (from >= JobState::kCompleted) return false;
  switch (to) {
    case JobState::kPending:
      return from != JobState::kPending;
    case JobState::kConfiguring:
      return from == JobState::kPending;
    case JobState::kRunning:
      return from == JobState::kConfiguring;
    case JobState::kCompleting:
      return from == JobState::kRunning;
    case JobState::kCompleted:
      return from == JobState::kCompleting;
    case JobState::kFailed:
    case JobState::kCancelled:
      return true;
  }
  return false;
}

}  // namespace ovi::core
