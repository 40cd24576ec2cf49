// What the artifact store does with folders.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace ovi {

// FAILED_PRECONDITION "<path>: cannot <doing>: <what errno says>".
absl::Status FolderError(const std::string& path, const char* doing);

// Creates the folder `path` in `parent`, for its owner only, unless it is there.
absl::Status MakeFolder(const std::string& path, const std::string& parent);

// Sorted; none when the folder does not exist.
std::vector<std::string> NamesIn(const std::string& folder);

// A file or a folder with all that is in it, if it exists. A failure is logged.
void Remove(const std::string& path);

}  // namespace ovi
