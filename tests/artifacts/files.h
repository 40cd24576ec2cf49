// A store in a folder of its own, and files to put into it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/sha256.h"
#include "coordinator/artifacts/artifact_store.h"
#include "tests/temp_folder.h"

namespace ovi::test {

inline core::Artifact ArtifactOf(std::string_view bytes, const std::string& file_name = "video.mp4") {
  return {.file_name = file_name,
          .sha256 = Sha256Hex(bytes),
          .size_bytes = static_cast<std::int64_t>(bytes.size())};
}

inline std::unique_ptr<ArtifactStore> MustOpenStore(const std::string& folder, ArtifactLimits limits = {}) {
  // However full the disk of the test machine is.
  if (limits.disk_bytes_free_min == ArtifactLimits{}.disk_bytes_free_min) limits.disk_bytes_free_min = 0;
  absl::StatusOr<std::unique_ptr<ArtifactStore>> store = ArtifactStore::Open(folder, limits);
  EXPECT_TRUE(store.ok()) << store.status();
  OVI_CHECK(store.ok());
  return *std::move(store);
}

// All of it, in two pieces.
inline absl::Status UploadFile(ArtifactStore& store, const core::AttemptRef& attempt, std::string_view bytes,
                               const core::Artifact& artifact) {
  absl::StatusOr<std::unique_ptr<Upload>> upload = store.BeginUpload(attempt, artifact);
  if (!upload.ok()) return upload.status();
  for (const std::string_view piece : {bytes.substr(0, bytes.size() / 3), bytes.substr(bytes.size() / 3)}) {
    const absl::Status status = (*upload)->Write(piece);
    if (!status.ok()) return status;
  }
  return (*upload)->Finish();
}

inline absl::Status UploadFile(ArtifactStore& store, const core::AttemptRef& attempt, std::string_view bytes,
                               const std::string& file_name = "video.mp4") {
  return UploadFile(store, attempt, bytes, ArtifactOf(bytes, file_name));
}

// The bytes, or the error in words.
inline std::string Contents(const absl::StatusOr<StoredFile>& file) {
  if (!file.ok()) return file.status().ToString();
  return file->Read(0, static_cast<std::size_t>(file->bytes()) + 1).value_or("cannot be read");
}

inline std::string Published(ArtifactStore& store, core::JobId job,
                             std::string_view file_name = "video.mp4") {
  return Contents(store.OpenForRead(job, file_name));
}

}  // namespace ovi::test
