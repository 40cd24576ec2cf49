// How much of a disk may still be written: what is free, less what running uploads have announced, less a
// floor that is never touched (the journal needs room too).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

class DiskReservation;

// Thread-safe. Must outlive its reservations.
class DiskSpace {
 public:
  using BytesFree = std::function<absl::StatusOr<std::int64_t>(const std::string& folder)>;
  DiskSpace(std::string folder, std::int64_t bytes_free_min, BytesFree bytes_free);

  // Promises `bytes` to one upload, or RESOURCE_EXHAUSTED with the numbers.
  absl::StatusOr<DiskReservation> Reserve(std::int64_t bytes);
  // RESOURCE_EXHAUSTED once less than the floor is free: somebody else fills the disk.
  absl::Status CheckFloor() const;

 private:
  friend class DiskReservation;
  void GiveBack(std::int64_t bytes);

  const std::string folder_;
  const std::int64_t bytes_free_min_;
  const BytesFree bytes_free_;
  std::mutex mutex_;
  std::int64_t bytes_reserved_ = 0;
};

// Bytes not written yet; given back when destroyed. Move-only.
class [[nodiscard]] DiskReservation {
 public:
  DiskReservation(DiskReservation&& other) noexcept;
  DiskReservation& operator=(DiskReservation&&) = delete;
  ~DiskReservation();

  // `bytes` of them are on disk now, where DiskBytesFree sees them.
  void OnWritten(std::int64_t bytes);

 private:
  friend class DiskSpace;
  DiskReservation(DiskSpace& space, std::int64_t bytes) : space_(&space), bytes_(bytes) {}

  DiskSpace* space_;
  std::int64_t bytes_;
};

}  // namespace ovi
