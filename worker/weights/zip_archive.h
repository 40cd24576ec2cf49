// The entries of a zip file that stores them uncompressed, as torch.save writes it. Zip64 included.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace ovi {

// Entry names and contents, both views of the file.
using ZipEntries = std::map<std::string_view, std::span<const std::byte>>;

// INVALID_ARGUMENT, without the file's name, for a directory that is cut short or points outside the file, an
// entry that is compressed, encrypted, or named twice, or one whose own header names another entry. CRCs are
// not checked: that would read every page of the file.
absl::StatusOr<ZipEntries> ReadZipEntries(std::span<const std::byte> file);

}  // namespace ovi
