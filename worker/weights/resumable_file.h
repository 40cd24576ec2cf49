// A large output file whose making may be interrupted and goes on later.
//
// It is "<path>.part" until it is whole, and whoever makes it holds a lock (flock) on that: of two processes
// that want the same file, the second waits. In the place of the whole file's first 8 bytes, the part has
// 2^63 + how many of its pieces are on disk. As the length of a safetensors header that is none, so no reader
// takes a part for a whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

// Thread-compatible.
class ResumableFile {
 public:
  // Called about ten times a second while another process makes the file, with how many pieces of it are on
  // disk; an error ends the waiting.
  using Waiting = std::function<absl::Status(std::int64_t pieces_done)>;

  // FAILED_PRECONDITION when the folder is missing, not writable or knows no locks. After having waited, the
  // whole file may be there: look again.
  static absl::StatusOr<std::unique_ptr<ResumableFile>> Open(const std::string& path, const Waiting& waiting);
  // Leaves the part where pieces of it are done, for another run.
  ~ResumableFile();
  ResumableFile(const ResumableFile&) = delete;
  ResumableFile& operator=(const ResumableFile&) = delete;

  struct Contents {
    std::string_view head;    // the first bytes, 8 or more
    std::int64_t bytes = 0;   // of all
    std::int64_t pieces = 0;  // written in their order
  };
  // Reserves the disk and returns how many pieces are done: 0 unless the part was begun for the same
  // contents. FAILED_PRECONDITION names bytes_needed and bytes_free. Once, before what follows.
  absl::StatusOr<std::int64_t> Begin(const Contents& contents);
  // Behind the head. UNAVAILABLE when the disk is full or fails, also from what follows.
  absl::Status WriteAt(std::int64_t offset, std::span<const std::byte> bytes);
  // One piece more has been written, of so many bytes. From time to time this waits for the disk: what is
  // lost when the machine stops is at most 256 MiB.
  absl::Status PieceDone(std::int64_t bytes);
  absl::Status Commit();

 private:
  ResumableFile(std::string path, UniqueFd fd);
  absl::Status Failure(const char* verb, int error) const;
  absl::StatusOr<std::int64_t> PiecesOf(const Contents& contents) const;
  absl::Status Reserve(std::int64_t bytes);
  // All that was written is on disk, and then that it is.
  absl::Status Checkpoint();

  std::string path_, part_path_;
  UniqueFd fd_;
  std::uint64_t first_word_ = 0;  // of the whole file
  std::int64_t pieces_done_ = 0;
  std::int64_t bytes_unsynced_ = 0;
  bool committed_ = false;
};

// Whether the file at `path` has this size and these first bytes.
bool BeginsWith(const std::string& path, std::string_view head, std::int64_t bytes);

}  // namespace ovi
