// ovi-worker group: one rank of a group that mpirun starts (or the only one, without mpirun). It serves the
// coordinator's jobs, one after the other, until it is told to end.
#pragma once

#include <string>

namespace ovi {

struct GroupOptions {
  std::string group_dir;  // see worker/group/group_files.h
};

// Returns the exit code: a GroupExitCode of ovi/v1/groups.proto. SIGTERM and the end of the process that
// started it end it at once.
int RunGroup(const GroupOptions& options);

}  // namespace ovi
