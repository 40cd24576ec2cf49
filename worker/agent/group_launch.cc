#include "worker/agent/group_launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "worker/agent/keeper.h"
#include "worker/agent/mpirun_command.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

absl::Status MakeFolder(const GroupFolder& folder) {
  std::error_code error;
  fs::remove_all(folder.path(), error);
  if (error)
    return absl::UnavailableError(absl::StrCat(folder.path(), ": cannot remove it: ", error.message()));
  if (::mkdir(folder.path().c_str(), 0700) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat(folder.path(), ": cannot make the folder"));
  return absl::OkStatus();
}

std::vector<std::string> OwnEnvironment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

}  // namespace

absl::StatusOr<LaunchedKeeper> LaunchGroup(const GroupLaunch& launch) {
  OVI_ASSIGN_OR_RETURN(const std::string worker, FindProgram(launch.worker));
  OVI_ASSIGN_OR_RETURN(const std::string mpirun, FindProgram(launch.mpirun));
  OVI_RETURN_IF_ERROR(MakeFolder(launch.folder));
  OVI_RETURN_IF_ERROR(WriteGroupFiles(launch.folder.path(), launch.facts, launch.token));
  OVI_ASSIGN_OR_RETURN(const UniqueFd lock, TryLockFile(launch.folder.lock_path()));
  OVI_ASSIGN_OR_RETURN(const std::string scratch, launch.folder.MakeScratch());

  const MpirunCommandLine command =
      MpirunCommand({.mpirun = mpirun,
                     .worker = worker,
                     .group_dir = launch.folder.path(),
                     .scratch_dir = scratch,
                     .world_size = static_cast<int>(launch.facts.gpu_indices.size()),
                     .threads_per_rank = launch.threads_per_rank,
                     .cuda_visible_devices = launch.cuda_visible_devices,
                     .models_dir = launch.facts.models_dir,
                     .tls_ca_file = launch.tls_ca_file,
                     .as_root = ::geteuid() == 0,
                     .base_environment = OwnEnvironment(),
                     .extra_environment = launch.environment});
  int status_fds[2];
  if (::pipe2(status_fds, O_CLOEXEC | O_NONBLOCK) != 0)
    return absl::ErrnoToStatus(errno, "cannot make a pipe");
  LaunchedKeeper launched{.status_fd = UniqueFd(status_fds[0])};
  const UniqueFd status_write_end(status_fds[1]);

  std::vector<std::string> argv = {launch.keeper, "keep-group", launch.folder.path()};
  argv.insert(argv.end(), command.argv.begin(), command.argv.end());
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Subprocess> keeper,
                       Subprocess::Start(argv, {.stdin_stream = StandardStream::kNull,
                                                .stdout_stream = StandardStream::kNull,
                                                .stderr_stream = StandardStream::kNull,
                                                .fds = {{lock.get(), kKeeperLockFd},
                                                        {status_write_end.get(), kKeeperStatusFd}},
                                                .own_session = true,
                                                .environment = command.environment}));
  launched.pid = keeper->Detach();
  return launched;
}

void RemoveOldGroupFolders(const std::string& groups_dir, const std::vector<std::string>& living,
                           const FolderExpiry& expiry) {
  struct Ended {
    fs::file_time_type at;
    fs::path path;
  };
  std::vector<Ended> ended;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(groups_dir, error)) {
    if (std::find(living.begin(), living.end(), entry.path().filename()) != living.end()) continue;
    fs::file_time_type at = fs::last_write_time(GroupFolder(entry.path()).exit_path(), error);
    if (error) at = entry.last_write_time(error);
    if (!error) ended.push_back({at, entry.path()});
  }
  std::sort(ended.begin(), ended.end(), [](const Ended& a, const Ended& b) { return a.at > b.at; });
  const auto oldest = fs::file_time_type::clock::now() - std::chrono::hours(24) * expiry.days_max;
  for (std::size_t i = 0; i < ended.size(); ++i) {
    if (i >= expiry.count_max || ended[i].at < oldest) fs::remove_all(ended[i].path, error);
  }
}

}  // namespace ovi
