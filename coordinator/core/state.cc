#include "coordinator/core/state.h"

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/core/retry.h"

namespace ovi::core {
namespace {

absl::Status Refused(JobId job, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat("job ", job, ": ", why));
}

absl::StatusOr<Job*> FindJob(State& state, JobId id) {
  const auto found = state.jobs.find(id);
  if (found == state.jobs.end()) return Refused(id, "unknown");
  return &found->second;
}

absl::StatusOr<Job*> FindCurrent(State& state, const AttemptRef& ref) {
  if (Job* job = CurrentJob(state, ref)) return job;
  return Refused(ref.job, absl::StrCat("attempt ", ref.attempt, " is not the current one"));
}

absl::Status ApplyTo(State& state, const JobAdded& added) {
  if (added.job < state.next_job) return Refused(added.job, absl::StrCat("ids go on at ", state.next_job));
  if (!added.request_id.empty() && !state.request_ids.try_emplace(added.request_id, added.job).second) {
    return Refused(added.job, absl::StrCat("request_id ", added.request_id, " was used before"));
  }
  // Ids ascend, and most jobs have one priority, so the end is where both belong.
  Job& job = state.jobs.try_emplace(state.jobs.end(), added.job)->second;
  job.id = added.job;
  job.request_id = added.request_id;
  job.request = added.request;
  job.spec = added.spec;
  job.warnings = added.warnings;
  job.submitted_at = added.at;
  state.queue.insert(state.queue.end(), {added.request.priority, added.job});
  state.next_job = added.job + 1;
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const AttemptStarted& started) {
  OVI_ASSIGN_OR_RETURN(Job* const found, FindJob(state, started.attempt.job));
  Job& job = *found;
  if (!IsLegal(job.state, JobState::kConfiguring)) {
    return Refused(job.id, absl::StrCat("no attempt starts while it is ", ToString(job.state)));
  }
  const int number = static_cast<int>(job.attempts.size()) + 1;
  if (started.attempt.attempt != number) {
    return Refused(job.id, absl::StrCat("attempt ", number, " is next, not ", started.attempt.attempt));
  }
  if (started.group.empty() || started.gpu_indices.empty()) return Refused(job.id, "an attempt without GPUs");
  job.attempts.push_back({.number = number,
                          .node = started.node,
                          .gpu_indices = started.gpu_indices,
                          .bytes_per_rank = started.bytes_per_rank,
                          .group = started.group,
                          .warm = started.warm,
                          .started_at = started.at,
                          .vram_mode = started.vram_mode});
  job.state = JobState::kConfiguring;
  job.pending_reason.clear();
  job.progress = {};
  job.last_sign_at = started.at;
  state.queue.erase({job.request.priority, job.id});
  state.active.insert(job.id);
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const AttemptAdvanced& advanced) {
  OVI_ASSIGN_OR_RETURN(Job* const found, FindCurrent(state, advanced.attempt));
  Job& job = *found;
  const bool forward = advanced.state == JobState::kRunning || advanced.state == JobState::kCompleting;
  if (!forward || !IsLegal(job.state, advanced.state)) {
    return Refused(job.id,
                   absl::StrCat(ToString(job.state), " is not followed by ", ToString(advanced.state)));
  }
  job.state = advanced.state;
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const AttemptEnded& ended) {
  OVI_ASSIGN_OR_RETURN(Job* const found, FindCurrent(state, ended.attempt));
  Job& job = *found;
  if (ended.end == AttemptEnd::kNone) return Refused(job.id, "an attempt ends in some way");
  Attempt& attempt = job.attempts.back();
  attempt.ended_at = ended.at;
  attempt.end = ended.end;
  attempt.message = ended.message;
  attempt.memory = ended.memory;
  if (ended.end == AttemptEnd::kNodeNotReady) state.not_ready.insert(job.id);
  job.state = JobState::kPending;
  job.pending_reason = absl::StrCat(Describe(attempt), "; tried again");
  job.progress = {};
  state.active.erase(job.id);
  state.queue.insert({job.request.priority, job.id});
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const JobFinished& finished) {
  OVI_ASSIGN_OR_RETURN(Job* const found, FindJob(state, finished.job));
  Job& job = *found;
  if (job.state != JobState::kPending) {
    return Refused(job.id, absl::StrCat("cannot end while it is ", ToString(job.state)));
  }
  if (finished.state < JobState::kCompleted) {
    return Refused(job.id, absl::StrCat(ToString(finished.state), " is no end"));
  }
  const bool has_result = !job.attempts.empty() && job.attempts.back().end == AttemptEnd::kCompleted;
  if (has_result != (finished.state == JobState::kCompleted)) {
    return Refused(job.id, "is COMPLETED if, and only if, its last attempt is");
  }
  job.state = finished.state;
  job.finished_at = finished.at;
  job.error = finished.error;
  job.artifacts = finished.artifacts;
  job.pending_reason.clear();
  state.queue.erase({job.request.priority, job.id});
  state.finished.insert({finished.at, job.id});
  state.not_ready.erase(job.id);
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const CancelRequested& requested) {
  OVI_ASSIGN_OR_RETURN(Job* const found, FindJob(state, requested.job));
  Job& job = *found;
  if (job.ended() || job.cancel_requested) return Refused(job.id, "has ended, or is being cancelled already");
  job.cancel_requested = true;
  job.cancel_requested_at = requested.at;
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const JobForgotten& forgotten) {
  OVI_ASSIGN_OR_RETURN(Job* const found, FindJob(state, forgotten.job));
  const Job& job = *found;
  if (!job.ended()) return Refused(job.id, "has not ended");
  if (!job.request_id.empty()) state.request_ids.erase(job.request_id);
  state.finished.erase({job.finished_at, job.id});
  state.jobs.erase(forgotten.job);
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const NodeDrained& drained) {
  state.drained[drained.node] = drained.reason;
  return absl::OkStatus();
}

absl::Status ApplyTo(State& state, const NodeResumed& resumed) {
  if (state.drained.erase(resumed.node) == 0) {
    return absl::FailedPreconditionError(absl::StrCat("node ", resumed.node, ": is not drained"));
  }
  return absl::OkStatus();
}

template <typename AnyState>
auto FindCurrentJob(AnyState& state, const AttemptRef& ref) -> decltype(&state.jobs.begin()->second) {
  const auto found = state.jobs.find(ref.job);
  if (found == state.jobs.end()) return nullptr;
  const Attempt* attempt = found->second.current();
  return attempt != nullptr && attempt->number == ref.attempt ? &found->second : nullptr;
}

}  // namespace

absl::Status Apply(State& state, const Change& change) {
  return std::visit([&state](const auto& what) { return ApplyTo(state, what); }, change);
}

Job* CurrentJob(State& state, const AttemptRef& ref) {
  return FindCurrentJob(state, ref);
}
const Job* CurrentJob(const State& state, const AttemptRef& ref) {
  return FindCurrentJob(state, ref);
}

}  // namespace ovi::core
