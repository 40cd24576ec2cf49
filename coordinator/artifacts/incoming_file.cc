#include "coordinator/artifacts/incoming_file.h"

#include <span>
#include <utility>

#include "base/status.h"

namespace ovi {

absl::StatusOr<IncomingFile> IncomingFile::Create(const std::string& path, Limit limit, DiskSpace& space) {
  OVI_ASSIGN_OR_RETURN(DiskReservation reservation, space.Reserve(limit.bytes));
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<PartFile> file, PartFile::Create(path));
  return IncomingFile(std::move(file), std::move(limit), space, std::move(reservation));
}

absl::Status IncomingFile::Write(std::string_view bytes) {
  if (status_.ok()) status_ = WriteChecked(bytes);
  return status_;
}

absl::Status IncomingFile::WriteChecked(std::string_view bytes) {
  const auto count = static_cast<std::int64_t>(bytes.size());
  if (count > limit_.bytes - bytes_written_) return limit_.too_long;
  // Before every piece (1 MiB at most, against a microsecond for this): the disk has other users.
  OVI_RETURN_IF_ERROR(space_->CheckFloor());
  OVI_RETURN_IF_ERROR(
      file_->Write(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size())));
  sha256_->Update(bytes);
  bytes_written_ += count;
  reservation_.OnWritten(count);
  return absl::OkStatus();
}

absl::StatusOr<std::string> IncomingFile::Seal() {
  if (!status_.ok()) return status_;
  status_ = absl::FailedPreconditionError("the file was finished before");
  return sha256_->FinishHex();
}

absl::Status IncomingFile::Commit() {
  return file_->Commit();
}

}  // namespace ovi
