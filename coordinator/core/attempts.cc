// From the first sign of an attempt to its end, and what follows from that.
#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/format.h"
#include "coordinator/core/course.h"
#include "coordinator/core/retry.h"
#include "coordinator/core/step.h"

namespace ovi::core {
namespace {

constexpr std::size_t kMessageBytesMax = 1000;

// A group tells of each stage and rank once; told again, the later figures count.
void AddMemory(Attempt& attempt, const std::vector<MemoryReport>& reports) {
  for (const MemoryReport& report : reports) {
    if (report.rank < 0 || report.rank >= static_cast<int>(attempt.gpu_indices.size())) continue;
    const auto same = [&report](const MemoryReport& known) {
      return known.rank == report.rank && known.stage == report.stage;
    };
    const auto known = std::find_if(attempt.memory.begin(), attempt.memory.end(), same);
    if (known != attempt.memory.end()) {
      *known = report;
    } else {
      attempt.memory.push_back(report);
    }
  }
}

bool IsOlder(const Progress& a, const Progress& b) {
  return std::tie(a.stage, a.step) < std::tie(b.stage, b.step);
}

// Through every state on the way, so that watchers see the diagram's arrows.
void AdvanceTo(Step& step, Job& job, JobState state) {
  for (const JobState next : {JobState::kRunning, JobState::kCompleting}) {
    if (next > job.state && next <= state) {
      step.Record(AttemptAdvanced{.attempt = CurrentRef(job), .at = step.at(), .state = next});
    }
  }
}

AttemptCounts CountsOf(const Job& job) {
  AttemptCounts counts;
  for (const Attempt& attempt : job.attempts) {
    counts.all += attempt.end == AttemptEnd::kNodeNotReady ? 0 : 1;
    counts.out_of_memory += attempt.end == AttemptEnd::kOutOfMemory ? 1 : 0;
  }
  return counts;
}

std::string ErrorAfterTries(const Job& job, const Policy& policy) {
  const Attempt& last = job.attempts.back();
  std::string error = Describe(last);
  if (last.end != AttemptEnd::kBadInput && CountsOf(job).all >= policy.attempts_max) {
    absl::StrAppend(&error, "; no more than ", policy.attempts_max, " attempts are made");
  }
  return error;
}

// Before that, nodes of before our own restart may still be on their way back.
bool NoNodeIsLeft(Step& step, const Job& job) {
  return step.at() - step.state().started_at >= step.policy().reconnect_ms_max &&
         !HasNodeLeft(step.state(), job);
}

void FailForWantOfANode(Step& step, const Job& job) {
  step.Record(
      JobFinished{.job = job.id,
                  .at = step.at(),
                  .state = JobState::kFailed,
                  .error = absl::StrCat(Describe(job.attempts.back()), "; no other node could take it")});
}

// The group still believes in an attempt that is no longer the current one.
void OnLateReport(Step& step, const AttemptReported& what) {
  step.Order(AcknowledgeAttempt{.group = what.group, .attempt = what.attempt});
  const auto found = step.state().jobs.find(what.attempt.job);
  const bool is_result = found != step.state().jobs.end() && found->second.state == JobState::kCompleted &&
                         found->second.attempts.back().number == what.attempt.attempt;
  // Nor those of an attempt that goes on in another group.
  if (!is_result && CurrentJob(step.state(), what.attempt) == nullptr) {
    step.Order(DropUploads{.attempt = what.attempt});
  }
  Group* group = FindGroup(step.state(), what.group);
  if (group == nullptr || group->state != GroupState::kBusy) return;
  if (group->attempt == what.attempt) {
    MakeIdle(step, *group);
    Schedule(step);
    return;
  }
  // It has an attempt that it may not have begun: it had this one on its hands.
  const Job* job = CurrentJobOn(step.state(), group->attempt, group->id);
  if (job == nullptr) return;
  step.Order(RunOf(*job));
  if (job->cancel_requested) step.Order(CancelAttempt{.group = group->id, .attempt = group->attempt});
}

// After these ends the group can be trusted with another attempt.
bool StaysUsable(AttemptEnd end) {
  return end == AttemptEnd::kCompleted || end == AttemptEnd::kCancelled || end == AttemptEnd::kBadInput ||
         end == AttemptEnd::kNodeNotReady;
}

}  // namespace

AttemptRef CurrentRef(const Job& job) {
  return {.job = job.id, .attempt = job.attempts.back().number};
}

RunAttempt RunOf(const Job& job) {
  const Attempt& attempt = *job.current();
  return {.group = attempt.group, .attempt = CurrentRef(job), .vram_mode = attempt.vram_mode};
}

Job* CurrentJobOn(State& state, const AttemptRef& ref, const GroupId& group) {
  Job* job = CurrentJob(state, ref);
  return job != nullptr && job->current()->group == group ? job : nullptr;
}

Job* JobNaming(State& state, const GroupId& group) {
  for (const JobId id : state.active) {
    Job& job = state.jobs.at(id);
    if (job.current()->group == group) return &job;
  }
  return nullptr;
}

void EndAttempt(Step& step, Job& job, Ending ending) {
  const AttemptRef ref = CurrentRef(job);
  const bool completed = ending.end == AttemptEnd::kCompleted;
  if (!completed && job.state == JobState::kCompleting) step.Order(DropUploads{.attempt = ref});
  step.Record(AttemptEnded{.attempt = ref,
                           .at = step.at(),
                           .end = ending.end,
                           .message = OneLine(ending.message, kMessageBytesMax),
                           .memory = job.attempts.back().memory});
  JobFinished finished{.job = job.id, .at = step.at(), .state = JobState::kCompleted};
  if (completed) {
    finished.artifacts = std::move(ending.artifacts);
    step.Record(finished);
    return;
  }
  const NextStep next = AfterAttempt(ending.end, CountsOf(job), step.policy());
  if (job.cancel_requested || next == NextStep::kFinish) {
    finished.state = JobState::kCancelled;
    step.Record(finished);
  } else if (next == NextStep::kGiveUp) {
    finished.state = JobState::kFailed;
    finished.error = ErrorAfterTries(job, step.policy());
    step.Record(finished);
  } else if (next == NextStep::kRetryOnlyElsewhere && NoNodeIsLeft(step, job)) {
    FailForWantOfANode(step, job);
  }
}

void GiveUpJobsWithoutANode(Step& step) {
  State& state = step.state();
  const std::vector<JobId> not_ready(state.not_ready.begin(), state.not_ready.end());
  for (const JobId id : not_ready) {
    const Job& job = state.jobs.at(id);
    if (job.state == JobState::kPending && NoNodeIsLeft(step, job)) FailForWantOfANode(step, job);
  }
}

void Handle(Step& step, const AttemptProgressed& what) {
  Job* job = CurrentJobOn(step.state(), what.attempt, what.group);
  if (job == nullptr) return;
  AdvanceTo(step, *job, JobState::kRunning);
  job->last_sign_at = step.at();
  AddMemory(*job->current(), what.memory);
  if (IsOlder(what.progress, job->progress)) return;
  job->progress = what.progress;
  step.Touch(job->id);
}

void Handle(Step& step, const ArtifactBegun& what) {
  Job* job = CurrentJobOn(step.state(), what.attempt, what.group);
  if (job == nullptr) {
    step.Reply(absl::FailedPreconditionError(absl::StrCat("attempt ", what.attempt.attempt, " of job ",
                                                          what.attempt.job,
                                                          " is not the current one, or not this group's")));
    return;
  }
  AdvanceTo(step, *job, JobState::kCompleting);
  job->last_sign_at = step.at();
}

void Handle(Step& step, const AttemptReported& what) {
  Job* job = CurrentJobOn(step.state(), what.attempt, what.group);
  if (job == nullptr) {
    OnLateReport(step, what);
    return;
  }
  AddMemory(*job->current(), what.memory);
  Ending ending{.end = what.end, .message = what.message, .artifacts = what.artifacts};
  if (what.end == AttemptEnd::kCompleted) {
    AdvanceTo(step, *job, JobState::kCompleting);
    ending.message.clear();
  } else if (what.end == AttemptEnd::kCancelled && !job->cancel_requested) {
    ending.end = AttemptEnd::kPreempted;  // somebody stopped the group; nobody asked for the end of the job
  } else if (what.end == AttemptEnd::kNone) {
    ending.end = AttemptEnd::kWorkerCrash;
  }
  EndAttempt(step, *job, std::move(ending));
  step.Order(AcknowledgeAttempt{.group = what.group, .attempt = what.attempt});
  if (Group* group = FindGroup(step.state(), what.group)) {
    MakeIdle(step, *group);
    if (!StaysUsable(what.end)) Stop(step, *group);
  }
  Schedule(step);
}

}  // namespace ovi::core
