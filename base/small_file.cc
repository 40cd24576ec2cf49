#include "base/small_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "base/regular_file.h"
#include "base/status.h"

namespace ovi {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, std::int64_t bytes_max) {
  OVI_ASSIGN_OR_RETURN(const RegularFile file, OpenRegularFile(path));
  if (file.bytes > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": has ", file.bytes, " bytes, more than the ", bytes_max, " allowed"));
  }

  // Read to the end of the file rather than to its size: it may grow meanwhile, and /proc files claim 0.
  std::string bytes;
  char block[16384];
  for (;;) {
    const ssize_t count = read(file.fd.get(), block, sizeof(block));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot read"));
    if (count == 0) return bytes;
    bytes.append(block, static_cast<std::size_t>(count));
    if (static_cast<std::int64_t>(bytes.size()) > bytes_max) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": has more than the ", bytes_max, " bytes allowed"));
    }
  }
}

}  // namespace ovi
