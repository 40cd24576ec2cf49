// What users ask for: new jobs, and the end of jobs.
#include <cstddef>
#include <map>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
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

// What a request_id of the batch stands for so far: the index of its first job.
using FirstOf = std::map<std::string_view, std::size_t>;

bool IsSame(const auto& a, const auto& b) {
  return a.spec == b.spec && a.request == b.request;
}

absl::Status Differs(const std::string& request_id, const std::string& user) {
  return absl::AlreadyExistsError(
      absl::StrCat("request_id: ", Quoted(request_id), " was used for ", user, ", which differs"));
}

// Whether jobs[index] becomes a job: false where it repeats a request_id with its spec.
absl::StatusOr<bool> IsNew(const State& state, const std::vector<JobSubmitted>& jobs, std::size_t index,
                           FirstOf& first_of) {
  const JobSubmitted& job = jobs[index];
  if (const auto used = state.request_ids.find(job.request_id); used != state.request_ids.end()) {
    if (IsSame(job, state.jobs.at(used->second))) return false;
    return Differs(job.request_id, absl::StrCat("job ", used->second));
  }
  if (!job.request_id.empty()) {
    const auto [first, inserted] = first_of.try_emplace(job.request_id, index);
    if (!inserted && !IsSame(job, jobs[first->second])) {
      return Differs(job.request_id, absl::StrCat("requests[", first->second, "]"));
    }
    if (!inserted) return false;
  }
  OVI_RETURN_IF_ERROR(CheckFitsEver(state, job.request));
  return true;
}

// How many of `jobs` become jobs, or the first refusal (advance.h).
absl::StatusOr<std::int64_t> CountNew(const State& state, const std::vector<JobSubmitted>& jobs) {
  std::int64_t count = 0;
  FirstOf first_of;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const absl::StatusOr<bool> is_new = IsNew(state, jobs, i, first_of);
    if (!is_new.ok()) {
      return jobs.size() == 1 ? is_new.status()
                              : Annotate(is_new.status(), absl::StrCat("requests[", i, "]"));
    }
    count += *is_new ? 1 : 0;
  }
  const auto pending = static_cast<std::int64_t>(state.queue.size());
  if (count > 0 && pending + count > state.policy.pending_jobs_max) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue has no room for ", count, " more: ", pending,
                                                     " of at most ", state.policy.pending_jobs_max,
                                                     " jobs wait"));
  }
  return count;
}

}  // namespace

void Handle(Step& step, const JobsSubmitted& what) {
  State& state = step.state();
  const absl::StatusOr<std::int64_t> count = CountNew(state, what.jobs);
  if (!count.ok()) return step.Reply(count.status());
  std::vector<JobId> ids;
  ids.reserve(what.jobs.size());
  for (const JobSubmitted& job : what.jobs) {
    // By now also what this batch has used it for.
    if (const auto used = state.request_ids.find(job.request_id); used != state.request_ids.end()) {
      ids.push_back(used->second);
      continue;
    }
    ids.push_back(state.next_job);
    step.Record(JobAdded{.job = state.next_job,
                         .at = step.at(),
                         .request_id = job.request_id,
                         .request = job.request,
                         .spec = job.spec,
                         .warnings = job.warnings});
  }
  step.Reply(std::move(ids));
  if (*count > 0) Schedule(step);
}

void Handle(Step& step, const CancelAsked& what) {
  const auto found = step.state().jobs.find(what.job);
  if (found == step.state().jobs.end()) {
    step.Reply(absl::NotFoundError(absl::StrCat("there is no job ", what.job)));
    return;
  }
  Job& job = found->second;
  if (job.ended() || job.cancel_requested) return;
  Cancel(step, job);
  Schedule(step);  // GPUs may have been held back for it
}

}  // namespace ovi::core
