// Files between a group and the coordinator: results up, first frames down. Every call waits, tries again
// while the coordinator is away (at most CoordinatorLink's delivery_max), and returns CANCELLED as soon as
// the attempt is interrupted.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "ovi/v1/groups.pb.h"
#include "worker/group/coordinator_link.h"

namespace ovi {

struct ArtifactFile {
  v1::ArtifactKind kind = v1::ARTIFACT_KIND_UNSPECIFIED;
  std::string file_name;  // as clients see it
  std::string path;
};

// What the coordinator has verified and put on disk. UNAVAILABLE when the coordinator cannot take the file or
// does not want it (the attempt is no longer the current one), stays away for too long, or our own file
// cannot be read.
absl::StatusOr<v1::Artifact> UploadArtifact(CoordinatorLink& link, const v1::AttemptRef& attempt,
                                            const ArtifactFile& file);

// The bytes of that hash. INVALID_ARGUMENT when the coordinator has none, or more than `bytes_max`; else as
// above.
absl::StatusOr<std::string> DownloadInput(CoordinatorLink& link, const std::string& sha256,
                                          std::int64_t bytes_max);

}  // namespace ovi
