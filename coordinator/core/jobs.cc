// What users ask for: new jobs, and the end of jobs.
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/step.h"

namespace ovi::core {
namespace {

void Cancel(Step& step, Job& job) {
  step.Record(CancelRequested{.job = job.id, .at = step.at()});
  if (job.state == JobState::kPending) {
    step.Record(JobFinished{.job = job.id, .at = step.at(), .state = JobState::kCancelled});
    return;
  }
  const AttemptRef ref = CurrentRef(job);
  Group* group = FindGroup(step.state(), job.current()->group);
  if (group == nullptr || group->state == GroupState::kBusy) {
    // A group that is not attached is told when it is.
    if (group != nullptr) step.Order(CancelAttempt{.group = group->id, .attempt = ref});
    return;
  }
  // It starts, and was never told of the attempt.
  EndAttempt(step, job, {.end = AttemptEnd::kCancelled});
  Stop(step, *group);
}

}  // namespace

void Handle(Step& step, const JobSubmitted& what) {
  State& state = step.state();
  const auto used = state.request_ids.find(what.request_id);
  if (used != state.request_ids.end()) {
    const Job& job = state.jobs.at(used->second);
    if (job.spec == what.spec && job.request == what.request) {
      step.Reply(job.id);
    } else {
      step.Reply(absl::AlreadyExistsError(absl::StrCat("request_id: ", Quoted(what.request_id),
                                                       " was used for job ", job.id, ", which differs")));
    }
    return;
  }
  if (const absl::Status fits = CheckFitsEver(state, what.request); !fits.ok()) {
    step.Reply(fits);
    return;
  }
  const JobId id = state.next_job;
  step.Record(JobAdded{.job = id,
                       .at = step.at(),
                       .request_id = what.request_id,
                       .request = what.request,
                       .spec = what.spec,
                       .warnings = what.warnings});
  step.Reply(id);
  Schedule(step);
}

void Handle(Step& step, const CancelAsked& what) {
  const auto found = step.state().jobs.find(what.job);
  if (found == step.state().jobs.end()) {
    step.Reply(absl::NotFoundError(absl::StrCat("there is no job ", what.job)));
    return;
  }
  Job& job = found->second;
  step.Reply(job.id);
  if (job.ended() || job.cancel_requested) return;
  Cancel(step, job);
  Schedule(step);  // GPUs may have been held back for it
}

}  // namespace ovi::core
