// One job file, many jobs: every prompt, each_example_n_times. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ovi/v1/job.pb.h"
#include "ovi/v1/jobs.pb.h"
#include "worker/job/job_spec.h"

namespace ovi::client {

// What the command line adds to a job file.
struct ExpandOptions {
  std::string user;
  std::string name;
  int priority = 0;
  std::map<std::string, std::string> first_frames;  // path -> sha256 of every image the job names
};

// INVALID_ARGUMENT when the job makes more than `count_max` jobs.
absl::Status CheckCount(const JobSpec& job, std::int64_t count_max);

// Prompts in order, the repeats of one beside each other, with seed, seed + 1, ... (modulo 2^64, as
// `ovi-worker generate` counts). INVALID_ARGUMENT when there are repeats and no seed: the first one's would
// be the model's default, which only the coordinator knows, so the others' could not be told.
absl::StatusOr<std::vector<v1::JobSpec>> Expand(const JobSpec& job, const ExpandOptions& options);

// The calls that submit `specs` in their order: as few as the limits of one allow. Job i of all has the
// request_id "<request_id>-<i>", so that the same jobs may be submitted again.
std::vector<v1::SubmitJobsRequest> Batches(const std::vector<v1::JobSpec>& specs,
                                           const std::string& request_id);

// What a job file asks for that is no matter of the cluster: one line each.
std::vector<std::string> ExpandWarnings(const JobSpec& job);

}  // namespace ovi::client
