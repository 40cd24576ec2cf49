#include "worker/agent/group_log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/regular_file.h"
#include "base/status.h"
#include "base/text.h"

namespace ovi {
namespace {

std::string LogPath(const std::string& dir) {
  return dir + "/output.log";
}
std::string OlderPath(const std::string& log_path) {
  return log_path + ".1";
}

absl::StatusOr<std::string> ReadTail(const std::string& path, std::int64_t bytes_max) {
  OVI_ASSIGN_OR_RETURN(const RegularFile file, OpenRegularFile(path));
  std::string tail(static_cast<std::size_t>(std::min(file.bytes, bytes_max)), '\0');
  std::size_t read_bytes = 0;
  while (read_bytes < tail.size()) {
    const ssize_t count =
        ::pread(file.fd.get(), tail.data() + read_bytes, tail.size() - read_bytes,
                file.bytes - static_cast<std::int64_t>(tail.size()) + static_cast<std::int64_t>(read_bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, path + ": cannot read");
    if (count == 0) break;
    read_bytes += static_cast<std::size_t>(count);
  }
  tail.resize(read_bytes);
  return tail;
}

// Protobuf refuses text that is not UTF-8.
std::string WithoutBrokenUtf8(std::string text) {
  for (std::size_t begin = 0;;) {
    const std::size_t broken = FirstInvalidUtf8(std::string_view(text).substr(begin));
    if (broken == std::string_view::npos) break;
    begin += broken;
    text[begin++] = '?';
  }
  std::replace(text.begin(), text.end(), '\0', '?');
  return text;
}

}  // namespace

GroupLogWriter::GroupLogWriter(const std::string& dir, std::int64_t file_bytes_max)
    : path_(LogPath(dir)), file_bytes_max_(file_bytes_max) {
  Open();
}

void GroupLogWriter::Open() {
  fd_.Reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  struct stat info {};
  file_bytes_ = fd_.valid() && ::fstat(fd_.get(), &info) == 0 ? info.st_size : 0;
}

void GroupLogWriter::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    if (file_bytes_ >= file_bytes_max_) {
      std::rename(path_.c_str(), OlderPath(path_).c_str());
      Open();
      if (file_bytes_ >= file_bytes_max_) return;  // cannot be renamed: what is there stays
    }
    const std::string_view part =
        bytes.substr(0, static_cast<std::size_t>(std::max<std::int64_t>(file_bytes_max_ - file_bytes_, 1)));
    const ssize_t count = ::write(fd_.get(), part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    file_bytes_ += count;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

absl::StatusOr<std::string> ReadGroupLogTail(const std::string& dir, std::int64_t bytes_max) {
  bytes_max = std::max<std::int64_t>(bytes_max, 0);
  const std::string path = LogPath(dir);
  // One byte more than asked for tells whether the first line is whole.
  OVI_ASSIGN_OR_RETURN(std::string tail, ReadTail(path, bytes_max + 1));
  if (static_cast<std::int64_t>(tail.size()) <= bytes_max) {
    const auto older = ReadTail(OlderPath(path), bytes_max + 1 - static_cast<std::int64_t>(tail.size()));
    if (older.ok()) tail = *older + tail;
  }
  if (static_cast<std::int64_t>(tail.size()) > bytes_max) {
    const std::size_t newline = tail.find('\n');
    const bool whole_line_follows = newline != std::string::npos && newline + 1 < tail.size();
    tail.erase(0, whole_line_follows ? newline + 1 : tail.size() - static_cast<std::size_t>(bytes_max));
  }
  return WithoutBrokenUtf8(std::move(tail));
}

}  // namespace ovi
