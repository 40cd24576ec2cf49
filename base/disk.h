// What a program asks of the disk its files are on.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace ovi {

// Bytes that an unprivileged process may still write on the disk `folder` is on.
absl::StatusOr<std::int64_t> DiskBytesFree(const std::string& folder);

// Names in it are on disk then. Some file systems refuse that, harmlessly.
void SyncFolder(const std::string& folder);

// Of a file: "a/" for "a/b", "./" for "b".
std::string FolderOf(const std::string& path);

}  // namespace ovi
