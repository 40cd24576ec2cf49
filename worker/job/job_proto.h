// The edge between ovi.v1.JobSpec and JobSpec: what a client may ask of the cluster, checked field by field.
// Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ovi/v1/job.pb.h"
#include "worker/job/job_spec.h"

namespace ovi {

// Of one SubmitJobs. The bytes are those of the message; a job alone is always less.
inline constexpr int kBatchJobsMax = 1000;
inline constexpr std::size_t kBatchBytesMax = std::size_t{8} << 20;

// Everything that is wrong with `spec` and can be seen without a model, a file or a GPU; the limits are those
// of docs/job-config.md. `field` is the path below "spec", as in "sample_steps" or "loras[2].path". Empty: it
// can be run, or at least tried.
std::vector<v1::FieldViolation> CheckJobSpec(const v1::JobSpec& spec);

// The job of one prompt. `image_path` stays "" in mode i2v: the first frame travels as bytes.
// INVALID_ARGUMENT with the first violation.
absl::StatusOr<JobSpec> JobFromProto(const v1::JobSpec& spec);

// As of a JobSpec (job_spec.h).
bool WantsLowRank(const v1::JobSpec& spec);

// UNSPECIFIED, or a number that nobody knows, is kAuto.
VramMode VramModeOf(v1::VramMode mode);
v1::VramMode ToProto(VramMode mode);

}  // namespace ovi
