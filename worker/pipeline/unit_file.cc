#include "worker/pipeline/unit_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
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
constexpr std::size_t kUnusedFilesMax = 2;
constexpr std::int64_t kAlignment = 4096;  // of a unit in the file

std::string Reason(int error) {
  return std::generic_category().message(error);
}

std::int64_t Aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
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

// Takes away what nobody has locked, but for the files used last.
void RemoveOld(const fs::path& folder) {
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == kEnding) files.emplace_back(entry.last_write_time(error), entry.path());
  }
  std::sort(files.begin(), files.end(), std::greater<>());
  std::size_t unused = 0;
  for (const auto& [used_at, path] : files) {
    // Neither in use, nor about to be.
    const absl::StatusOr<UniqueFd> turn =
        OpenLocked(path.string() + ".lock", O_RDWR | O_CREAT, LOCK_EX | LOCK_NB);
    const absl::StatusOr<UniqueFd> use = OpenLocked(path.string(), O_RDONLY, LOCK_EX | LOCK_NB);
    if (!turn.ok() || !use.ok()) continue;
    if (++unused > kUnusedFilesMax) fs::remove(path, error);
  }
}

class UnitFile final : public UnitShelf {
 public:
  UnitFile(std::string cache_dir, std::string identity)
      : cache_dir_(std::move(cache_dir)), identity_(std::move(identity)) {}

  absl::Status Stock(std::span<const Item> items, const Fill& fill) override {
    std::string key = absl::StrCat("units 1\n", identity_);
    std::int64_t end = 0;
    for (const Item& item : items) {
      places_.push_back({item.unit, end, item.bytes});
      end += Aligned(item.bytes);
      absl::StrAppend(&key, "\n", ToString(item.unit), " ", item.bytes);
    }
    const fs::path folder = fs::path(cache_dir_) / "units";
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder.string(), ": cannot make this folder for streamed weights: ", error.message(),
                       "; OVI_CACHE_DIR names another"));
    }
    const std::string path = (folder / (Sha256Hex(key).substr(0, 32) + std::string(kEnding))).string();
    // One of all processes makes it; the others find it made.
    {
      OVI_ASSIGN_OR_RETURN(const UniqueFd turn, OpenLocked(path + ".lock", O_RDWR | O_CREAT, LOCK_EX));
      if (fs::file_size(path, error) != static_cast<std::uintmax_t>(end) || error) {
        OVI_RETURN_IF_ERROR(Make(path, end, items, fill));
      }
      OVI_ASSIGN_OR_RETURN(in_use_, OpenLocked(path, O_RDONLY, LOCK_SH));
    }
    ::futimes(in_use_.get(), nullptr);  // the time of its last use
    OVI_ASSIGN_OR_RETURN(file_, MappedFile::Open(path));
    RemoveOld(folder);
    return absl::OkStatus();
  }

  std::span<const std::byte> Bytes(FusionUnit unit) const override {
    const auto found = std::find_if(places_.begin(), places_.end(),
                                    [unit](const Place& place) { return place.unit == unit; });
    OVI_CHECK(found != places_.end());
    return file_->bytes().subspan(static_cast<std::size_t>(found->begin),
                                  static_cast<std::size_t>(found->bytes));
  }

 private:
  struct Place {
    FusionUnit unit;
    std::int64_t begin = 0;
    std::int64_t bytes = 0;
  };

  static absl::Status Make(const std::string& path, std::int64_t bytes, std::span<const Item> items,
                           const Fill& fill) {
    OVI_ASSIGN_OR_RETURN(const std::int64_t bytes_free, DiskBytesFree(FolderOf(path)));
    if (bytes_free < bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(path, ": no room for the streamed weights: bytes_needed=", bytes,
                       " bytes_free=", bytes_free, "; OVI_CACHE_DIR names another folder"));
    }
    OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
    std::vector<std::uint8_t> buffer;
    for (const Item& item : items) {
      buffer.assign(static_cast<std::size_t>(Aligned(item.bytes)), 0);
      OVI_RETURN_IF_ERROR(fill(
          item.unit, std::as_writable_bytes(std::span(buffer)).first(static_cast<std::size_t>(item.bytes))));
      OVI_RETURN_IF_ERROR(file->Write(buffer));
    }
    return file->Commit();
  }

  std::string cache_dir_, identity_;
  std::vector<Place> places_;
  UniqueFd in_use_;  // locked, so that nobody takes the file away
  std::shared_ptr<const MappedFile> file_;
};

}  // namespace

std::unique_ptr<UnitShelf> MakeUnitFile(const std::string& cache_dir, const std::string& identity) {
  return std::make_unique<UnitFile>(cache_dir, identity);
}

}  // namespace ovi
