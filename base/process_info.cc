#include "base/process_info.h"

#include <dirent.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <string>
#include <system_error>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"

namespace ovi {
namespace {

constexpr std::int64_t kStatBytesMax = 64 * 1024;
constexpr std::int64_t kEnvironmentBytesMax = 4 << 20;

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

std::vector<std::string_view> Words(std::string_view text) {
  constexpr std::string_view kBlanks = " \n";
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return words;
    const std::size_t end = std::min(text.find_first_of(kBlanks, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

template <typename Number>
bool ParseWhole(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::optional<ProcessInfo> ParseProcStat(std::string_view line) {
  // "pid (name) state ppid pgrp session ...": the name may hold blanks and brackets, so the last one counts.
  const std::size_t name_end = line.rfind(')');
  const std::size_t name_begin = line.find(" (");
  if (name_end == std::string_view::npos || name_begin == std::string_view::npos || name_end < name_begin)
    return std::nullopt;
  const std::vector<std::string_view> after = Words(line.substr(name_end + 1));
  constexpr std::size_t kState =
      3;  // fields are numbered as in proc(5), where this is the first after the name
  const auto number = [&](std::size_t field, auto& out) {
    return field - kState < after.size() && ParseWhole(after[field - kState], out);
  };
  ProcessInfo info;
  if (!ParseWhole(line.substr(0, name_begin), info.pid) || after.empty() || after[0].size() != 1 ||
      !number(4, info.parent) || !number(6, info.session) || !number(22, info.start_ticks)) {
    return std::nullopt;
  }
  info.state = after[0][0];
  return info;
}

std::optional<ProcessInfo> ReadProcess(pid_t pid) {
  const absl::StatusOr<std::string> line = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"), kStatBytesMax);
  if (!line.ok()) return std::nullopt;
  return ParseProcStat(*line);
}

std::vector<ProcessInfo> ListProcesses() {
  std::vector<ProcessInfo> processes;
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir("/proc"));
  if (folder == nullptr) return processes;
  while (const dirent* entry = ::readdir(folder.get())) {
    pid_t pid = 0;
    if (!ParseWhole(std::string_view(entry->d_name), pid)) continue;
    if (const std::optional<ProcessInfo> info = ReadProcess(pid)) processes.push_back(*info);
  }
  return processes;
}

std::set<pid_t> WithDescendants(std::span<const ProcessInfo> processes, const std::set<pid_t>& roots) {
  std::multimap<pid_t, pid_t> children;
  std::vector<pid_t> to_visit;
  for (const ProcessInfo& process : processes) {
    children.emplace(process.parent, process.pid);
    if (roots.contains(process.pid)) to_visit.push_back(process.pid);
  }
  std::set<pid_t> found;
  while (!to_visit.empty()) {
    const pid_t pid = to_visit.back();
    to_visit.pop_back();
    if (!found.insert(pid).second) continue;
    const auto [first, last] = children.equal_range(pid);
    for (auto child = first; child != last; ++child) to_visit.push_back(child->second);
  }
  return found;
}

bool HasEnvironment(pid_t pid, std::string_view variable) {
  const absl::StatusOr<std::string> text =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/environ"), kEnvironmentBytesMax);
  if (!text.ok()) return false;
  for (std::string_view rest = *text; !rest.empty();) {
    const std::size_t end = rest.find('\0');
    if (rest.substr(0, end) == variable) return true;
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return false;
}

}  // namespace ovi
