#include "base/mapped_file.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/regular_file.h"
#include "base/status.h"

namespace ovi {

MappedFile::MappedFile(std::string path, std::span<const std::byte> bytes)
    : path_(std::move(path)), bytes_(bytes) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  // The mapping outlives the descriptor.
  OVI_ASSIGN_OR_RETURN(const RegularFile file, OpenRegularFile(path));
  std::span<const std::byte> bytes;
  if (file.bytes > 0) {
    const auto size = static_cast<std::size_t>(file.bytes);
    void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd.get(), 0);
    if (address == MAP_FAILED)
      return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot map ", size, " bytes"));
    bytes = {static_cast<const std::byte*>(address), size};
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, bytes));
}

}  // namespace ovi
