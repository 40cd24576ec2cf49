#include "coordinator/artifacts/input_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/disk.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/text.h"
#include "coordinator/artifacts/folders.h"

namespace ovi {

InputStore::InputStore(std::string folder, std::int64_t bytes_max, std::int64_t kept_ms, DiskSpace& space)
    : folder_(std::move(folder)), bytes_max_(bytes_max), kept_ms_(kept_ms), space_(space) {}

absl::Status InputStore::Prepare() {
  OVI_RETURN_IF_ERROR(MakeFolder(folder_, std::filesystem::path(folder_).parent_path().string()));
  // Also what was complete but had no name yet.
  for (const std::string& name : NamesIn(folder_)) {
    if (!IsSha256Hex(name)) Remove(absl::StrCat(folder_, "/", name));
  }
  return absl::OkStatus();
}

std::string InputStore::PathOf(std::string_view sha256) const {
  return absl::StrCat(folder_, "/", absl::string_view(sha256.data(), sha256.size()));
}

absl::StatusOr<std::unique_ptr<InputUpload>> InputStore::Begin() {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    path = absl::StrCat(folder_, "/upload-", next_upload_++);
  }
  IncomingFile::Limit limit{.bytes = bytes_max_,
                            .too_long = absl::InvalidArgumentError(
                                absl::StrCat("the input has more than the ", bytes_max_, " bytes allowed"))};
  OVI_ASSIGN_OR_RETURN(IncomingFile file, IncomingFile::Create(path, std::move(limit), space_));
  return std::unique_ptr<InputUpload>(new InputUpload(*this, std::move(file), std::move(path)));
}

absl::Status InputStore::Commit(IncomingFile& file, const std::string& path, const std::string& sha256) {
  OVI_RETURN_IF_ERROR(file.Commit());
  // Over the one that is there, if it is: the same bytes, a new date.
  const std::lock_guard lock(mutex_);
  if (std::rename(path.c_str(), PathOf(sha256).c_str()) != 0) {
    absl::Status status = FolderError(PathOf(sha256), "store the input");
    ::unlink(path.c_str());
    return status;
  }
  SyncFolder(folder_);
  return absl::OkStatus();
}

bool InputStore::Has(std::string_view sha256) {
  const std::lock_guard lock(mutex_);
  return IsSha256Hex(sha256) && ::utimensat(AT_FDCWD, PathOf(sha256).c_str(), nullptr, 0) == 0;
}

absl::StatusOr<StoredFile> InputStore::OpenForRead(std::string_view sha256) const {
  if (IsSha256Hex(sha256)) {
    absl::StatusOr<StoredFile> file = StoredFile::Open(PathOf(sha256));
    if (!absl::IsNotFound(file.status())) return file;
  }
  return absl::NotFoundError(absl::StrCat("no input has the sha256 ", Quoted(sha256)));
}

int InputStore::Expire(core::TimeMs now, const std::set<std::string>& in_use) {
  int removed = 0;
  for (const std::string& name : NamesIn(folder_)) {
    if (!IsSha256Hex(name) || in_use.contains(name)) continue;
    const std::lock_guard lock(mutex_);
    struct stat info {};
    if (::stat(PathOf(name).c_str(), &info) != 0) continue;
    const core::TimeMs used = core::TimeMs{info.st_mtim.tv_sec} * 1000 + info.st_mtim.tv_nsec / 1'000'000;
    if (now - used < kept_ms_) continue;
    Remove(PathOf(name));
    ++removed;
  }
  return removed;
}

}  // namespace ovi
