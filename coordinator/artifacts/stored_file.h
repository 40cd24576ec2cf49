// A file of the artifact store, open for reading. It stays readable when the store deletes it meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

// Thread-safe. Move-only.
class StoredFile {
 public:
  // NOT_FOUND when it does not exist, else as OpenRegularFile.
  static absl::StatusOr<StoredFile> Open(const std::string& path);

  std::int64_t bytes() const { return bytes_; }
  // Up to `bytes_max` bytes from `offset`; fewer only at the end, "" there. UNAVAILABLE when the disk fails.
  absl::StatusOr<std::string> Read(std::int64_t offset, std::size_t bytes_max) const;
  // Of all of it, as 64 hex digits.
  absl::StatusOr<std::string> Sha256() const;

 private:
  StoredFile(std::string path, UniqueFd fd, std::int64_t bytes)
      : path_(std::move(path)), fd_(std::move(fd)), bytes_(bytes) {}

  std::string path_;
  UniqueFd fd_;
  std::int64_t bytes_;
};

}  // namespace ovi
