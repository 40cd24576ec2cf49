#include "coordinator/artifacts/folders.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/disk.h"
#include "base/log.h"

namespace ovi {

namespace fs = std::filesystem;

absl::Status FolderError(const std::string& path, const char* doing) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": cannot ", doing, ": ", std::generic_category().message(errno)));
}

absl::Status MakeFolder(const std::string& path, const std::string& parent) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    SyncFolder(parent);
    return absl::OkStatus();
  }
  const int error = errno;
  struct stat info {};
  if (error == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return absl::OkStatus();
  errno = error;
  return FolderError(path, "create the folder");
}

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void Remove(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) Log(LogLevel::kWarning, "cannot remove", {{"path", path}, {"reason", error.message()}});
}

}  // namespace ovi
