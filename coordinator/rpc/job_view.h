// Jobs as clients see them. Pure.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/state.h"
#include "ovi/v1/job.pb.h"
#include "ovi/v1/jobs.pb.h"

namespace ovi {

// NOT_FOUND.
absl::StatusOr<v1::Job> ViewJob(const core::State& state, core::JobId id);

// INVALID_ARGUMENT for a page size or token that cannot be. A page looks at no more than 20,000 jobs, so one
// of a rare state may come back with few jobs, or none, and a next_page_token.
absl::Status ViewPage(const core::State& state, const v1::ListJobsRequest& request,
                      v1::ListJobsResponse& response);

}  // namespace ovi
