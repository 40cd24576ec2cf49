// Starts one group: its folder, its files, its keeper.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "worker/agent/group_folder.h"
#include "worker/group/group_files.h"

namespace ovi {

struct GroupLaunch {
  GroupFolder folder{""};
  GroupFacts facts;
  std::string token;
  std::string mpirun, worker;  // programs
  std::string keeper;          // ovi-agent
  int threads_per_rank = 1;
  std::string cuda_visible_devices;
  std::string tls_ca_file;
  std::vector<std::string> environment;  // "NAME=value", on top of this process's own
};

struct LaunchedKeeper {
  pid_t pid = 0;
  UniqueFd status_fd;  // non-blocking; keeper.h says what comes
};

// What an ended group of the same id left is removed first. After an error nothing runs; the folder may be
// there. Errors name the program, the file or the field.
absl::StatusOr<LaunchedKeeper> LaunchGroup(const GroupLaunch& launch);

// Removes folders of ended groups but the newest `count_max`, and those that ended more than `days_max` ago.
// Those in `living` (names below `groups_dir`) stay.
struct FolderExpiry {
  std::size_t count_max = 50;
  int days_max = 7;
};
void RemoveOldGroupFolders(const std::string& groups_dir, const std::vector<std::string>& living,
                           const FolderExpiry& expiry = {});

}  // namespace ovi
