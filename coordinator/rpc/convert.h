// Between the scheduler's plain data and the messages of ovi.v1. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/core/advance.h"
#include "coordinator/core/placement.h"
#include "ovi/v1/cluster.pb.h"
#include "ovi/v1/groups.pb.h"
#include "ovi/v1/job.pb.h"
#include "ovi/v1/jobs.pb.h"

namespace ovi {

// "42" -> 42; INVALID_ARGUMENT for anything that is no positive number.
absl::StatusOr<core::JobId> ParseJobId(std::string_view text);

// `job` as clients see it; `pending_reason` replaces the job's own where it is not "".
v1::Job ToProto(const core::Job& job, const std::string& pending_reason);
v1::Attempt ToProto(const core::Attempt& attempt);
v1::Artifact ToProto(const core::Artifact& artifact);
v1::Progress ToProto(const core::Progress& progress);
v1::AttemptRef ToProto(const core::AttemptRef& attempt);
v1::PlanOption ToProto(const core::Option& option);
v1::JobState ToProto(core::JobState state);

// What a peer sent. Enum values that nobody knows become the neutral one; attempt references that are no
// numbers {0, 0}.
core::AttemptRef FromProto(const v1::AttemptRef& attempt);
core::Progress FromProto(const v1::Progress& progress);
core::MemoryReport FromProto(const v1::MemoryReport& report);
std::vector<core::MemoryReport> FromProto(
    const google::protobuf::RepeatedPtrField<v1::MemoryReport>& reports);
core::AttemptEnd FromProto(v1::AttemptEnd end);
// INVALID_ARGUMENT names the field: the kind, a hash that is none, a negative size.
absl::StatusOr<core::Artifact> FromProto(const v1::Artifact& artifact);

// What the scheduler needs of a spec that CheckJobSpec passed and Complete filled.
core::JobRequest RequestOf(const v1::JobSpec& spec);

// Settles what a client may leave open and no node need decide: mode, and the model where size and duration
// choose it. Appends to `warnings` what will not happen as written.
void Complete(v1::JobSpec& spec, std::vector<std::string>& warnings);

}  // namespace ovi
