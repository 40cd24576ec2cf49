// A whole file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace ovi {

// Thread-safe. Whoever cuts the file short while it is mapped makes later reads of the lost pages a SIGBUS:
// replace model files by rename, never in place.
class MappedFile {
 public:
  // Regular files only (through symbolic links too); an empty file maps to no bytes. NOT_FOUND or what errno
  // says when it cannot be opened; INVALID_ARGUMENT for a folder, FIFO, device or socket, which is not opened
  // for longer than the look at its type.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes);

  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace ovi
