// A file on its way into the store: counted, hashed and written beside its place; there only when complete.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/part_file.h"
#include "base/sha256.h"
#include "coordinator/artifacts/disk_space.h"

namespace ovi {

// Thread-compatible. The first error is for good; destroyed before Commit it leaves nothing behind.
class IncomingFile {
 public:
  struct Limit {
    std::int64_t bytes = 0;
    absl::Status too_long;  // what Write says when more come
  };
  // Room for limit.bytes is reserved first. Errors of DiskSpace::Reserve and PartFile::Create.
  static absl::StatusOr<IncomingFile> Create(const std::string& path, Limit limit, DiskSpace& space);

  // limit.too_long, RESOURCE_EXHAUSTED when the disk runs full, UNAVAILABLE when it fails.
  absl::Status Write(std::string_view bytes);
  // The hash of what was written. Nothing may be written afterwards.
  absl::StatusOr<std::string> Seal();
  // Synced and under its name. After Seal.
  absl::Status Commit();

  std::int64_t bytes_written() const { return bytes_written_; }

 private:
  IncomingFile(std::unique_ptr<PartFile> file, Limit limit, DiskSpace& space, DiskReservation reservation)
      : file_(std::move(file)),
        limit_(std::move(limit)),
        space_(&space),
        reservation_(std::move(reservation)) {}
  absl::Status WriteChecked(std::string_view bytes);

  std::unique_ptr<PartFile> file_;
  Limit limit_;
  DiskSpace* space_;
  DiskReservation reservation_;
  std::unique_ptr<Sha256> sha256_ = std::make_unique<Sha256>();
  std::int64_t bytes_written_ = 0;
  absl::Status status_;
};

}  // namespace ovi
