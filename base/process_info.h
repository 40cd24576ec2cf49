// Processes of this machine as /proc tells of them, and who descends from whom.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <vector>

namespace ovi {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t session = 0;
  char state = '?';  // 'Z': ended, not yet reaped
  std::int64_t start_ticks =
      0;  // since boot; with the pid it names a process for as long as the system is up

  bool operator==(const ProcessInfo&) const = default;
};

// The line of /proc/<pid>/stat. nullopt for anything else. Pure.
std::optional<ProcessInfo> ParseProcStat(std::string_view line);

// nullopt when there is no such process.
std::optional<ProcessInfo> ReadProcess(pid_t pid);

// All that are there, each as it was when its turn came.
std::vector<ProcessInfo> ListProcesses();

// `roots` that are in `processes`, and all that descend from them. Pure.
std::set<pid_t> WithDescendants(std::span<const ProcessInfo> processes, const std::set<pid_t>& roots);

// Whether the process was started with `variable` ("NAME=value") in its environment. False where we may not
// look.
bool HasEnvironment(pid_t pid, std::string_view variable);

}  // namespace ovi
