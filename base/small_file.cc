#include "base/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace ovi {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, std::int64_t bytes_max) {
  // O_NONBLOCK: opening a FIFO that has no writer would wait for one.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));

  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot stat"));
  if (S_ISDIR(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder, not a file"));
  if (!S_ISREG(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
  if (info.st_size > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": has ", info.st_size, " bytes, more than the ", bytes_max, " allowed"));
  }

  // Read to the end of the file rather than st_size: it may grow meanwhile, and /proc files claim 0.
  std::string bytes;
  char block[16384];
  for (;;) {
    const ssize_t count = read(fd.get(), block, sizeof(block));
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
