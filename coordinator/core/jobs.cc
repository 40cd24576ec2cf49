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

// By what the user sent: `request` is derived from it, and journals of before an upgrade may lack a field of
// it.
bool IsSame(const auto& a, const auto& b) {
  return a.spec == b.spec;
}

absl::Status Differs(const std::string& request_id, const std::string& user) {
  return absl::AlreadyExistsError(
      absl::StrCat("request_id: ", Quoted(request_id), " was used for ", user, ", which differs"));
}

// Gives the jobs of one event their ids, and changes nothing: one refusal refuses all.
class Numbering {
 public:
  Numbering(const State& state, const std::vector<JobSubmitted>& jobs)
      : state_(state), jobs_(jobs), next_(state.next_job) {}

  // Of each job: a new id, from state.next_job on, or that of the job it repeats. The first refusal
  // (advance.h).
  absl::StatusOr<std::vector<JobId>> Ids();

 private:
  absl::StatusOr<JobId> IdOf(std::size_t index);
  absl::Status CheckRoom() const;
  // Of jobs_[index]; of a job alone the message does not name it.
  absl::Status About(std::size_t index, const absl::Status& status) const;

  struct First {
    std::size_t index = 0;
    JobId id = 0;
  };
  const State& state_;
  const std::vector<JobSubmitted>& jobs_;
  JobId next_;
  std::map<std::string_view, First> first_of_;  // of each request_id that the batch is the first to use
};

absl::StatusOr<JobId> Numbering::IdOf(std::size_t index) {
  const JobSubmitted& job = jobs_[index];
  if (const auto used = state_.request_ids.find(job.request_id); used != state_.request_ids.end()) {
    if (IsSame(job, state_.jobs.at(used->second))) return used->second;
    return Differs(job.request_id, absl::StrCat("job ", used->second));
  }
  if (!job.request_id.empty()) {
    const auto [first, is_first] = first_of_.try_emplace(job.request_id, First{index, next_});
    const auto& [first_index, first_id] = first->second;
    if (!is_first && IsSame(job, jobs_[first_index])) return first_id;
    if (!is_first) return Differs(job.request_id, absl::StrCat("requests[", first_index, "]"));
  }
  return next_++;
}

absl::Status Numbering::CheckRoom() const {
  const std::int64_t count = next_ - state_.next_job;
  const std::int64_t most = state_.policy.pending_jobs_max;
  if (count > most) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a batch of ", count, " new jobs never has room: at most ", most, " jobs wait (pending_jobs_max)"));
  }
  const auto pending = static_cast<std::int64_t>(state_.queue.size());
  if (count > 0 && pending + count > most) {
    return absl::ResourceExhaustedError(absl::StrCat("the queue has no room for ", count, " more: ", pending,
                                                     " of at most ", most, " jobs wait"));
  }
  return absl::OkStatus();
}

absl::Status Numbering::About(std::size_t index, const absl::Status& status) const {
  return jobs_.size() == 1 ? status : Annotate(status, absl::StrCat("requests[", index, "]"));
}

absl::StatusOr<std::vector<JobId>> Numbering::Ids() {
  std::vector<JobId> ids;
  ids.reserve(jobs_.size());
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    const absl::StatusOr<JobId> id = IdOf(i);
    if (!id.ok()) return About(i, id.status());
    ids.push_back(*id);
  }
  // Room before fit, which costs most: clients ask again and again while the queue is full.
  OVI_RETURN_IF_ERROR(CheckRoom());
  JobId next = state_.next_job;
  for (std::size_t i = 0; i < jobs_.size(); ++i) {
    if (ids[i] != next) continue;  // there already
    if (const absl::Status fits = CheckFitsEver(state_, jobs_[i].request); !fits.ok()) return About(i, fits);
    ++next;
  }
  return ids;
}

}  // namespace

void Handle(Step& step, const JobsSubmitted& what) {
  State& state = step.state();
  absl::StatusOr<std::vector<JobId>> ids = Numbering(state, what.jobs).Ids();
  if (!ids.ok()) return step.Reply(std::move(ids));
  const JobId first_new = state.next_job;
  for (std::size_t i = 0; i < ids->size(); ++i) {
    if ((*ids)[i] != state.next_job) continue;  // there already
    const JobSubmitted& job = what.jobs[i];
    step.Record(JobAdded{.job = state.next_job,
                         .at = step.at(),
                         .request_id = job.request_id,
                         .request = job.request,
                         .spec = job.spec,
                         .warnings = job.warnings});
  }
  step.Reply(std::move(ids));
  if (state.next_job != first_new) Schedule(step);
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
