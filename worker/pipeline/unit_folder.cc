#include "worker/pipeline/unit_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/disk.h"
#include "base/mapped_file.h"
#include "base/part_file.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".units";
constexpr std::size_t kUnusedFoldersMax = 2;

std::string Reason(int error) {
  return std::generic_category().message(error);
}

absl::StatusOr<UniqueFd> OpenLocked(const std::string& path, int flags, int lock) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd.valid()) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": cannot open: ", Reason(errno)));
  }
  while (::flock(fd.get(), lock) != 0) {
    if (errno != EINTR)
      return absl::FailedPreconditionError(absl::StrCat(path, ": cannot lock: ", Reason(errno)));
  }
  return fd;
}

// Takes away what nobody has locked, the longest unused first and but for the `kept` used last, until
// `enough`.
void RemoveUnused(const fs::path& parent, std::size_t kept, const std::function<bool()>& enough) {
  std::vector<std::pair<fs::file_time_type, fs::path>> folders;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, error)) {
    if (entry.path().extension() == kEnding) folders.emplace_back(entry.last_write_time(error), entry.path());
  }
  std::sort(folders.begin(), folders.end());
  // Neither in use, nor about to be: locked while it may be taken away.
  struct Unused {
    fs::path path;
    UniqueFd turn, use;
  };
  std::vector<Unused> unused;
  for (const auto& [used_at, path] : folders) {
    absl::StatusOr<UniqueFd> turn = OpenLocked(path.string() + ".lock", O_RDWR | O_CREAT, LOCK_EX | LOCK_NB);
    if (!turn.ok()) continue;
    absl::StatusOr<UniqueFd> use = OpenLocked(path.string(), O_RDONLY, LOCK_EX | LOCK_NB);
    if (use.ok()) unused.push_back({path, *std::move(turn), *std::move(use)});
  }
  for (std::size_t i = 0; i + kept < unused.size() && !enough(); ++i) fs::remove_all(unused[i].path, error);
}

// What processes that were killed have left. With the folder's turn.
void RemoveParts(const std::string& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".part") fs::remove(entry.path(), error);
  }
}

absl::Status MakeFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(folder.string(), ": cannot make this folder for streamed weights: ", error.message(),
                   "; OVI_CACHE_DIR names another"));
}

bool HasSize(const std::string& path, std::int64_t bytes) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  return !error && size == static_cast<std::uintmax_t>(bytes);
}

class UnitFolder final : public UnitShelf {
 public:
  UnitFolder(std::string cache_dir, std::string identity)
      : cache_dir_(std::move(cache_dir)), identity_(std::move(identity)) {}

  absl::Status Stock(std::span<const Item> items, const Fill& fill) override {
    const fs::path parent = fs::path(cache_dir_) / "units";
    const std::string key = Sha256Hex(absl::StrCat("units 2\n", identity_)).substr(0, 32);
    folder_ = (parent / (key + std::string(kEnding))).string();
    OVI_RETURN_IF_ERROR(MakeFolder(parent));
    // One of all processes makes what is missing; the others find it made.
    {
      OVI_ASSIGN_OR_RETURN(const UniqueFd turn, OpenLocked(folder_ + ".lock", O_RDWR | O_CREAT, LOCK_EX));
      OVI_RETURN_IF_ERROR(MakeFolder(folder_));
      RemoveParts(folder_);
      if (absl::Status made = MakeMissing(items, fill); !made.ok()) {
        std::error_code not_empty;
        fs::remove(folder_, not_empty);
        return made;
      }
      OVI_ASSIGN_OR_RETURN(in_use_, OpenLocked(folder_, O_RDONLY, LOCK_SH));
    }
    ::futimens(in_use_.get(), nullptr);  // the time of its last use
    for (const Item& item : items) {
      OVI_ASSIGN_OR_RETURN(files_[ToString(item.unit)], MappedFile::Open(PathOf(item)));
    }
    RemoveUnused(parent, kUnusedFoldersMax, [] { return false; });
    return absl::OkStatus();
  }

  std::span<const std::byte> Bytes(FusionUnit unit) const override {
    return files_.at(ToString(unit))->bytes();
  }

 private:
  std::string PathOf(const Item& item) const { return absl::StrCat(folder_, "/", ToString(item.unit)); }

  absl::Status MakeMissing(std::span<const Item> items, const Fill& fill) const {
    std::vector<Item> missing;
    std::int64_t bytes = 0;
    for (const Item& item : items) {
      if (HasSize(PathOf(item), item.bytes)) continue;
      missing.push_back(item);
      bytes += item.bytes;
    }
    OVI_ASSIGN_OR_RETURN(std::int64_t bytes_free, DiskBytesFree(folder_));
    const auto has_room = [&] {
      bytes_free = DiskBytesFree(folder_).value_or(bytes_free);
      return bytes_free >= bytes;
    };
    RemoveUnused(fs::path(folder_).parent_path(), 0, has_room);
    if (!has_room()) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder_, ": no room for the streamed weights: bytes_needed=", bytes,
                       " bytes_free=", bytes_free, "; OVI_CACHE_DIR names another folder"));
    }
    std::vector<std::uint8_t> buffer;
    for (const Item& item : missing) {
      buffer.assign(static_cast<std::size_t>(item.bytes), 0);
      OVI_RETURN_IF_ERROR(fill(item.unit, std::as_writable_bytes(std::span(buffer))));
      OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(PathOf(item)));
      absl::Status written = file->Write(buffer);
      if (written.ok()) written = file->Commit();
      if (!written.ok()) return absl::FailedPreconditionError(written.message());
    }
    return absl::OkStatus();
  }

  std::string cache_dir_, identity_, folder_;
  UniqueFd in_use_;  // locked, so that nobody takes the folder away
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;  // by the unit's name
};

}  // namespace

std::unique_ptr<UnitShelf> MakeUnitFolder(const std::string& cache_dir, const std::string& identity) {
  return std::make_unique<UnitFolder>(cache_dir, identity);
}

}  // namespace ovi
