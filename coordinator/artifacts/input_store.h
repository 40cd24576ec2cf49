// First frames, each in a file named by its SHA-256: the same bytes twice are one input. The artifact store's
// part for them; its rules hold.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/artifacts/disk_space.h"
#include "coordinator/artifacts/stored_file.h"
#include "coordinator/artifacts/upload.h"
#include "coordinator/core/types.h"

namespace ovi {

// Thread-safe. Must outlive its uploads.
class InputStore {
 public:
  InputStore(std::string folder, std::int64_t bytes_max, std::int64_t kept_ms, DiskSpace& space);

  // Makes the folder, and removes what a killed process left in it.
  absl::Status Prepare();
  absl::StatusOr<std::unique_ptr<InputUpload>> Begin();
  bool Has(std::string_view sha256);
  absl::StatusOr<StoredFile> OpenForRead(std::string_view sha256) const;
  int Expire(core::TimeMs now, const std::set<std::string>& in_use);

 private:
  friend class InputUpload;
  std::string PathOf(std::string_view sha256) const;
  // Gives a complete upload its name.
  absl::Status Commit(IncomingFile& file, const std::string& path, const std::string& sha256);

  const std::string folder_;
  const std::int64_t bytes_max_;
  const std::int64_t kept_ms_;
  DiskSpace& space_;
  std::mutex mutex_;  // nobody is told of an input while it expires
  std::int64_t next_upload_ = 0;
};

}  // namespace ovi
