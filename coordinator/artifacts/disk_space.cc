#include "coordinator/artifacts/disk_space.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {

DiskSpace::DiskSpace(std::string folder, std::int64_t bytes_free_min, BytesFree bytes_free)
    : folder_(std::move(folder)), bytes_free_min_(bytes_free_min), bytes_free_(std::move(bytes_free)) {}

absl::StatusOr<DiskReservation> DiskSpace::Reserve(std::int64_t bytes) {
  OVI_ASSIGN_OR_RETURN(const std::int64_t bytes_free, bytes_free_(folder_));
  {
    const std::lock_guard lock(mutex_);
    if (bytes_free - bytes_reserved_ - bytes_free_min_ < bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(folder_, ": disk: bytes_needed=", bytes, " bytes_free=", bytes_free,
                       " bytes_reserved=", bytes_reserved_, " bytes_free_min=", bytes_free_min_));
    }
    bytes_reserved_ += bytes;
  }
  return DiskReservation(*this, bytes);
}

absl::Status DiskSpace::CheckFloor() const {
  OVI_ASSIGN_OR_RETURN(const std::int64_t bytes_free, bytes_free_(folder_));
  if (bytes_free >= bytes_free_min_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(folder_, ": disk: bytes_free=", bytes_free, " bytes_free_min=", bytes_free_min_));
}

void DiskSpace::GiveBack(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_reserved_ -= bytes;
}

DiskReservation::DiskReservation(DiskReservation&& other) noexcept
    : space_(other.space_), bytes_(std::exchange(other.bytes_, 0)) {}

DiskReservation::~DiskReservation() {
  space_->GiveBack(bytes_);
}

void DiskReservation::OnWritten(std::int64_t bytes) {
  bytes = std::min(bytes, bytes_);
  bytes_ -= bytes;
  space_->GiveBack(bytes);
}

}  // namespace ovi
