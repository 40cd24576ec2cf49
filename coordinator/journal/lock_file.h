// A file that one process holds at a time: who has it owns what lies beside it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

// Held until destroyed; the kernel lets go of it when the process ends, however it ends. Move-only. The file
// itself stays: removing it would let two processes lock two files of one name.
class LockFile {
 public:
  // Creates `path` when missing. FAILED_PRECONDITION when another process holds it ("in use by process
  // 4711"), or it cannot be created. Never waits. `what`: what the lock protects, named in the message.
  static absl::StatusOr<LockFile> Acquire(const std::string& path, const std::string& what);

 private:
  explicit LockFile(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace ovi
