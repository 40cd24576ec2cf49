// What the ranks of a group printed: <dir>/output.log, and <dir>/output.log.1 with what came before it. Both
// together are bounded, and the end is never lost.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

inline constexpr std::int64_t kGroupLogFileBytesMax = 8 << 20;

// Appends to the log of one group. Thread-compatible. A full disk loses output, never the group.
class GroupLogWriter {
 public:
  // `file_bytes_max`: of each of the two files.
  explicit GroupLogWriter(const std::string& dir, std::int64_t file_bytes_max = kGroupLogFileBytesMax);

  void Append(std::string_view bytes);

 private:
  void Open();

  std::string path_;
  std::int64_t file_bytes_max_;
  std::int64_t file_bytes_ = 0;
  UniqueFd fd_;
};

// The last whole lines of the log in `dir` that fit into `bytes_max`, or the end of its last line where that
// alone is longer; proper UTF-8. NOT_FOUND where there is no log.
absl::StatusOr<std::string> ReadGroupLogTail(const std::string& dir, std::int64_t bytes_max);

}  // namespace ovi
