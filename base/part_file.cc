#include "base/part_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/disk.h"

namespace ovi {

PartFile::PartFile(std::string path, std::string part_path, UniqueFd fd)
    : path_(std::move(path)), part_path_(std::move(part_path)), fd_(std::move(fd)) {}

PartFile::~PartFile() {
  if (!committed_) ::unlink(part_path_.c_str());
}

absl::Status PartFile::Failure(const char* verb, int error) const {
  return absl::UnavailableError(
      absl::StrCat(path_, ": cannot ", verb, " it: ", std::generic_category().message(error)));
}

absl::StatusOr<std::unique_ptr<PartFile>> PartFile::Create(const std::string& path) {
  static std::atomic<int> next_number{0};
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": cannot write it: it is a folder"));
  }
  for (;;) {
    std::string part_path = absl::StrCat(path, ".", ::getpid(), "-", next_number++, ".part");
    UniqueFd fd(::open(part_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd.valid()) return std::unique_ptr<PartFile>(new PartFile(path, std::move(part_path), std::move(fd)));
    if (errno == EEXIST) continue;  // left by a killed process that had our pid
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": cannot write it: ", std::generic_category().message(errno)));
  }
}

absl::Status PartFile::Write(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure("write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status PartFile::Commit() {
  if (::fsync(fd_.get()) != 0) return Failure("sync", errno);
  if (::rename(part_path_.c_str(), path_.c_str()) != 0) return Failure("rename", errno);
  committed_ = true;
  SyncFolder(FolderOf(path_));  // the new name outlives a power loss only so
  return absl::OkStatus();
}

}  // namespace ovi
