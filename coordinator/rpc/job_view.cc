#include "coordinator/rpc/job_view.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/core/placement.h"
#include "coordinator/rpc/convert.h"

namespace ovi {
namespace {

constexpr int kPageSize = 100;
constexpr int kPageSizeMax = 1000;
constexpr int kScannedMax = 20'000;

std::string ReasonOf(const core::State& state, const core::Job& job) {
  return job.state == core::JobState::kPending ? core::PendingReason(state, job) : job.pending_reason;
}

}  // namespace

absl::StatusOr<v1::Job> ViewJob(const core::State& state, core::JobId id) {
  const auto found = state.jobs.find(id);
  if (found == state.jobs.end()) return absl::NotFoundError(absl::StrCat("there is no job ", id));
  return ToProto(found->second, ReasonOf(state, found->second));
}

absl::Status ViewPage(const core::State& state, const v1::ListJobsRequest& request,
                      v1::ListJobsResponse& response) {
  if (request.page_size() < 0 || request.page_size() > kPageSizeMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_size must be 0 to ", kPageSizeMax, ", got ", request.page_size()));
  }
  const int page_size = request.page_size() == 0 ? kPageSize : request.page_size();
  auto next = state.jobs.rbegin();
  if (!request.page_token().empty()) {
    const absl::StatusOr<core::JobId> last = ParseJobId(request.page_token());
    if (!last.ok()) return absl::InvalidArgumentError("page_token is none that ListJobs gave");
    next = std::make_reverse_iterator(state.jobs.lower_bound(*last));
  }
  core::JobId seen = 0;
  for (int scanned = 0; next != state.jobs.rend(); ++next, ++scanned) {
    if (response.jobs_size() == page_size || scanned == kScannedMax) {
      response.set_next_page_token(absl::StrCat(seen));
      return absl::OkStatus();
    }
    const core::Job& job = next->second;
    seen = job.id;
    const bool wanted = request.states().empty() ||
                        std::find(request.states().begin(), request.states().end(), ToProto(job.state)) !=
                            request.states().end();
    if (!wanted || (!request.user().empty() && request.user() != job.request.user)) continue;
    *response.add_jobs() = ToProto(job, ReasonOf(state, job));
  }
  return absl::OkStatus();
}

}  // namespace ovi
