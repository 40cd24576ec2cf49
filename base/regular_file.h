// Opens a file that somebody named, for reading, and makes sure that it is one.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

struct RegularFile {
  UniqueFd fd;
  std::int64_t bytes = 0;  // when it was opened; 0 also for files of /proc
};

// NOT_FOUND, PERMISSION_DENIED, ... as the system says; INVALID_ARGUMENT for a folder, a FIFO or a device.
// Never waits.
absl::StatusOr<RegularFile> OpenRegularFile(const std::string& path);

}  // namespace ovi
