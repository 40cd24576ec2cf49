// What is on disk of one group, beside the files that its ranks read (worker/group/group_files.h):
//
//   lock          held (flock) by the group's keeper for as long as it lives
//   process.json  who the keeper and the leader (mpirun, or the only rank) are; written before the leader
//   exists output.log    what all ranks printed (group_log.h) exit.json     how it ended; written by the
//   keeper when nothing of the group is left told          the coordinator has been sent that
//
// So an agent that was killed finds out all about its groups: a held lock is a living group, and nothing is
// guessed from a pid alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace ovi {

struct ProcessRecord {
  pid_t keeper_pid = 0;
  std::int64_t keeper_start_ticks = 0;  // base/process_info.h
  pid_t leader_pid = 0;                 // mpirun or the only rank; 0 before it was started
  std::string boot_id;

  bool operator==(const ProcessRecord&) const = default;
};

struct ExitRecord {
  bool launched = false;  // the leader was started
  int exit_code = -1;     // the leader's; -1 where a signal ended it or nobody knows
  int signal = 0;
  std::string message;  // why it was not launched, or what else there is to say; one line or ""

  bool operator==(const ExitRecord&) const = default;
};

// The folder of one group. Copyable: only a name.
class GroupFolder {
 public:
  explicit GroupFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string lock_path() const { return path_ + "/lock"; }
  std::string exit_path() const { return path_ + "/exit.json"; }

  // Each file appears whole or not at all.
  absl::Status Write(const ProcessRecord& record) const;
  absl::Status Write(const ExitRecord& record) const;
  // NOT_FOUND when there is none; INVALID_ARGUMENT names the file and what is wrong with it.
  absl::StatusOr<ProcessRecord> ReadProcess() const;
  absl::StatusOr<ExitRecord> ReadExit() const;

  // An empty folder for Open MPI's own files, in shared memory where that can be. Whoever sees the group end
  // removes it.
  absl::StatusOr<std::string> MakeScratch() const;
  void RemoveScratch() const;

  void MarkTold() const;
  bool told() const;

 private:
  std::string path_;
};

// Takes the lock. UNAVAILABLE when somebody else holds it, which for a group means that it lives. The lock is
// given back when the last copy of the descriptor is closed, in whatever process.
absl::StatusOr<UniqueFd> TryLockFile(const std::string& path);

}  // namespace ovi
