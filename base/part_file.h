// An output file that appears under its name only when complete.
//
// It is written as "<path>.<pid>-<n>.part" in the same folder, then synced and renamed over `path`. Without
// Commit nothing stays behind; only a kill -9 or a power loss can leave a .part file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

// Thread-compatible.
class PartFile {
 public:
  // FAILED_PRECONDITION when the folder is missing or not writable, or `path` is a folder.
  static absl::StatusOr<std::unique_ptr<PartFile>> Create(const std::string& path);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  // Where another program may write in our place; it must keep the file, not replace it.
  const std::string& part_path() const { return part_path_; }

  // Appends. UNAVAILABLE when the disk is full or fails, also from Commit.
  absl::Status Write(std::span<const std::uint8_t> bytes);
  // Nothing may be written afterwards.
  absl::Status Commit();

 private:
  PartFile(std::string path, std::string part_path, UniqueFd fd);
  absl::Status Failure(const char* verb, int error) const;

  std::string path_, part_path_;
  UniqueFd fd_;
  bool committed_ = false;
};

}  // namespace ovi
