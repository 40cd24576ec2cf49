// A small file read whole: configurations, prompt lists, tokens. Model weights are mapped instead
// (mapped_file.h).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace ovi {

// The bytes of the regular file at `path` (symbolic links followed). NOT_FOUND or what errno says when it
// cannot be read; INVALID_ARGUMENT for a folder, FIFO, device or socket, and for a file of more than
// `bytes_max` bytes, of which no more than that is ever held. The message starts with `path`.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, std::int64_t bytes_max);

}  // namespace ovi
