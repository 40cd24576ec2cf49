// Files to and from the coordinator.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "client/ovictl/connection.h"
#include "ovi/v1/job.pb.h"
#include "worker/job/job_spec.h"

namespace ovi::client {

// The sha256 of every image a job names, by path. INVALID_ARGUMENT for what cannot be read, is no sound PNG,
// JPEG or WebP, or is larger than the 20 MiB that the coordinator takes.
absl::StatusOr<std::map<std::string, std::string>> CheckFrames(const JobSpec& job);

// Sends every content of `frames` (of CheckFrames) once, again while the coordinator does not answer.
// FAILED_PRECONDITION for a file that has changed since it was checked, DATA_LOSS when another hash arrived.
absl::Status UploadFrames(Connection& connection, const std::map<std::string, std::string>& frames);

struct Fetched {
  std::string path;
  bool was_there = false;  // the file had these bytes already
};

// Writes one artifact of a job to `folder`/<job>_<file name>, under that name only once all of it has arrived
// and has the hash that `artifact` (of the job) says; else nothing stays. DATA_LOSS for another hash or size,
// INTERNAL for a file name that would lead out of the folder.
absl::StatusOr<Fetched> FetchArtifact(Connection& connection, const std::string& job_id,
                                      const v1::Artifact& artifact, const std::string& folder);

// Makes the folder where it is missing and sees that files can be written there.
absl::Status PrepareFolder(const std::string& folder);

}  // namespace ovi::client
