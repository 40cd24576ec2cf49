#include "coordinator/artifacts/stored_file.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/regular_file.h"
#include "base/sha256.h"
#include "base/status.h"

namespace ovi {

absl::StatusOr<StoredFile> StoredFile::Open(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(RegularFile file, OpenRegularFile(path));
  return StoredFile(path, std::move(file.fd), file.bytes);
}

absl::StatusOr<std::string> StoredFile::Read(std::int64_t offset, std::size_t bytes_max) const {
  std::string piece(bytes_max, '\0');
  std::size_t held = 0;
  while (held < bytes_max) {
    const ssize_t count =
        ::pread(fd_.get(), piece.data() + held, bytes_max - held, offset + static_cast<std::int64_t>(held));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return absl::UnavailableError(
          absl::StrCat(path_, ": cannot read at ", offset, ": ", std::generic_category().message(errno)));
    }
    if (count == 0) break;
    held += static_cast<std::size_t>(count);
  }
  piece.resize(held);
  return piece;
}

absl::StatusOr<std::string> StoredFile::Sha256() const {
  constexpr std::size_t kPieceBytes = 1 << 20;
  ovi::Sha256 sha256;
  for (std::int64_t offset = 0;;) {
    OVI_ASSIGN_OR_RETURN(const std::string piece, Read(offset, kPieceBytes));
    if (piece.empty()) return sha256.FinishHex();
    sha256.Update(piece);
    offset += static_cast<std::int64_t>(piece.size());
  }
}

}  // namespace ovi
