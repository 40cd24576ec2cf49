#include "coordinator/journal/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ovi {

absl::StatusOr<LockFile> LockFile::Acquire(const std::string& path, const std::string& what) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": cannot open its lock ", path, ": ", std::generic_category().message(errno)));
  }
  // flock and not fcntl: those locks vanish when any other descriptor of the file is closed.
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error != EWOULDBLOCK) {
      return absl::FailedPreconditionError(
          absl::StrCat(what, ": cannot lock ", path, ": ", std::generic_category().message(error)));
    }
    char text[16] = {};
    int pid = 0;
    const ssize_t count = ::pread(fd.get(), text, sizeof(text), 0);
    const bool known =
        count > 0 && absl::SimpleAtoi(absl::string_view(text, static_cast<std::size_t>(count)), &pid);
    return absl::FailedPreconditionError(absl::StrCat(
        what, ": in use by ", known ? absl::StrCat("process ", pid) : "another process", " (", path, ")"));
  }
  // The pid is for the message alone, so a disk too full to hold it is no reason to refuse (errno: for
  // compilers who want that result used).
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(fd.get(), 0) == 0 && ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) errno = 0;
  return LockFile(std::move(fd));
}

}  // namespace ovi
