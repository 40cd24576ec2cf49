// A file of a result, and a first frame, while they arrive.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/artifacts/incoming_file.h"
#include "coordinator/core/types.h"

namespace ovi {

class ArtifactStore;
class InputStore;

// Thread-compatible. The first error is for good. Destroyed before Finish it leaves nothing behind.
class Upload {
 public:
  // DATA_LOSS for more bytes than were announced, RESOURCE_EXHAUSTED when the disk runs full, UNAVAILABLE
  // when it fails.
  absl::Status Write(std::string_view bytes) { return file_.Write(bytes); }
  // OK: the file is complete, has the hash that was announced, and is on disk. DATA_LOSS when it is not;
  // UNAVAILABLE also when the attempt was dropped meanwhile.
  absl::Status Finish();

 private:
  friend class ArtifactStore;
  Upload(ArtifactStore& store, IncomingFile file, const core::AttemptRef& attempt, core::Artifact artifact)
      : store_(store), file_(std::move(file)), attempt_(attempt), artifact_(std::move(artifact)) {}

  ArtifactStore& store_;
  IncomingFile file_;
  core::AttemptRef attempt_;
  core::Artifact artifact_;
};

// As Upload.
class InputUpload {
 public:
  // INVALID_ARGUMENT for more than input_bytes_max.
  absl::Status Write(std::string_view bytes) { return file_.Write(bytes); }
  // The sha256 by which it can be opened from now on; the same bytes twice are one input.
  absl::StatusOr<std::string> Finish();

 private:
  friend class InputStore;
  InputUpload(InputStore& store, IncomingFile file, std::string path)
      : store_(store), file_(std::move(file)), path_(std::move(path)) {}

  InputStore& store_;
  IncomingFile file_;
  std::string path_;
};

}  // namespace ovi
