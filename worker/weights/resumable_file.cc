#include "worker/weights/resumable_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/disk.h"
#include "base/regular_file.h"
#include "base/status.h"

namespace ovi {
namespace {

constexpr std::uint64_t kPartMark = std::uint64_t{1} << 63;
constexpr std::int64_t kWordBytes = sizeof(std::uint64_t);

absl::Status CannotWrite(const std::string& path, int error) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": cannot write it: ", std::generic_category().message(error)));
}

// False at the end of the file and on errors: what cannot be read is not what was looked for.
bool ReadAt(int fd, std::int64_t offset, std::span<char> out) {
  while (!out.empty()) {
    const ssize_t count = ::pread(fd, out.data(), out.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    out = out.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
  return true;
}

bool HasBytesAt(int fd, std::int64_t offset, std::string_view expected) {
  std::string bytes(expected.size(), '\0');
  return ReadAt(fd, offset, bytes) && bytes == expected;
}

// 0 for a part that is not begun yet, and for what is no part.
std::int64_t MarkedPieces(int fd) {
  std::uint64_t word = 0;
  if (!ReadAt(fd, 0, {reinterpret_cast<char*>(&word), sizeof(word)}) || word < kPartMark) return 0;
  return static_cast<std::int64_t>(word - kPartMark);
}

// Whether `path` still is the file that `fd` is open on.
bool IsNamed(int fd, const std::string& path) {
  struct stat open_file {};
  struct stat named {};
  return ::fstat(fd, &open_file) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

}  // namespace

ResumableFile::ResumableFile(std::string path, UniqueFd fd)
    : path_(std::move(path)), part_path_(path_ + ".part"), fd_(std::move(fd)) {}

absl::StatusOr<std::unique_ptr<ResumableFile>> ResumableFile::Open(const std::string& path,
                                                                   const Waiting& waiting) {
  constexpr std::chrono::milliseconds kPoll(100);
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return CannotWrite(path, EISDIR);
  const std::string part_path = path + ".part";
  for (;;) {
    UniqueFd fd(::open(part_path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
    if (!fd.valid()) return CannotWrite(part_path, errno);
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat(part_path, ": is not a regular file"));
    }
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      // Whoever held the lock may have made it the whole file, or removed it.
      if (!IsNamed(fd.get(), part_path)) continue;
      return std::unique_ptr<ResumableFile>(new ResumableFile(path, std::move(fd)));
    }
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) {
      return absl::FailedPreconditionError(
          absl::StrCat(part_path, ": cannot lock it: ", std::generic_category().message(errno)));
    }
    OVI_RETURN_IF_ERROR(waiting(MarkedPieces(fd.get())));
    std::this_thread::sleep_for(kPoll);
  }
}

ResumableFile::~ResumableFile() {
  if (committed_) return;
  if (pieces_done_ > 0) {
    Checkpoint().IgnoreError();  // where it cannot be made, the one before is what the next run finds
  } else {
    ::unlink(part_path_.c_str());
  }
}

absl::Status ResumableFile::Failure(const char* verb, int error) const {
  return absl::UnavailableError(
      absl::StrCat(path_, ": cannot ", verb, " it: ", std::generic_category().message(error)));
}

absl::StatusOr<std::int64_t> ResumableFile::PiecesOf(const Contents& contents) const {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return Failure("read", errno);
  if (info.st_size != contents.bytes) return 0;
  if (!HasBytesAt(fd_.get(), kWordBytes, contents.head.substr(kWordBytes))) return 0;
  const std::int64_t pieces = MarkedPieces(fd_.get());
  return pieces <= contents.pieces ? pieces : 0;
}

absl::Status ResumableFile::Reserve(std::int64_t bytes) {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return Failure("read", errno);
  constexpr std::int64_t kBlockBytes = 512;  // of st_blocks, whatever the file system's own are
  const std::int64_t bytes_needed = bytes - std::int64_t{info.st_blocks} * kBlockBytes;
  OVI_ASSIGN_OR_RETURN(const std::int64_t bytes_free, DiskBytesFree(FolderOf(path_)));
  if (bytes_needed > bytes_free) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": no room on the disk: bytes_needed=", bytes_needed, " bytes_free=", bytes_free));
  }
  // So that nobody else takes the room meanwhile; some file systems cannot.
  if (::fallocate(fd_.get(), 0, 0, bytes) != 0 && errno != EOPNOTSUPP) return Failure("reserve", errno);
  return ::ftruncate(fd_.get(), bytes) == 0 ? absl::OkStatus() : Failure("write", errno);
}

absl::StatusOr<std::int64_t> ResumableFile::Begin(const Contents& contents) {
  const std::string_view head = contents.head;
  OVI_CHECK(static_cast<std::int64_t>(head.size()) >= kWordBytes &&
            contents.bytes >= static_cast<std::int64_t>(head.size()));
  std::memcpy(&first_word_, head.data(), sizeof(first_word_));
  OVI_ASSIGN_OR_RETURN(pieces_done_, PiecesOf(contents));
  if (pieces_done_ == 0 && ::ftruncate(fd_.get(), 0) != 0) return Failure("write", errno);
  OVI_RETURN_IF_ERROR(Reserve(contents.bytes));
  if (pieces_done_ == 0) {
    OVI_RETURN_IF_ERROR(WriteAt(kWordBytes, std::as_bytes(std::span(head.substr(kWordBytes)))));
    OVI_RETURN_IF_ERROR(Checkpoint());
  }
  return pieces_done_;
}

absl::Status ResumableFile::WriteAt(std::int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_.get(), bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure("write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
  return absl::OkStatus();
}

absl::Status ResumableFile::Checkpoint() {
  if (::fdatasync(fd_.get()) != 0) return Failure("sync", errno);
  bytes_unsynced_ = 0;
  const std::uint64_t word = kPartMark + static_cast<std::uint64_t>(pieces_done_);
  return WriteAt(0, std::as_bytes(std::span(&word, 1)));
}

absl::Status ResumableFile::PieceDone(std::int64_t bytes) {
  constexpr std::int64_t kUnsyncedMax = std::int64_t{256} << 20;
  ++pieces_done_;
  bytes_unsynced_ += bytes;
  return bytes_unsynced_ < kUnsyncedMax ? absl::OkStatus() : Checkpoint();
}

absl::Status ResumableFile::Commit() {
  // In this order: a part may not look whole before it is.
  if (::fdatasync(fd_.get()) != 0) return Failure("sync", errno);
  OVI_RETURN_IF_ERROR(WriteAt(0, std::as_bytes(std::span(&first_word_, 1))));
  if (::fsync(fd_.get()) != 0) return Failure("sync", errno);
  if (::rename(part_path_.c_str(), path_.c_str()) != 0) return Failure("rename", errno);
  committed_ = true;
  SyncFolder(FolderOf(path_));
  return absl::OkStatus();
}

bool BeginsWith(const std::string& path, std::string_view head, std::int64_t bytes) {
  const absl::StatusOr<RegularFile> file = OpenRegularFile(path);
  return file.ok() && file->bytes == bytes && HasBytesAt(file->fd.get(), 0, head);
}

}  // namespace ovi
