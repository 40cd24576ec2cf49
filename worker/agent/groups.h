// The groups of this node: started, watched, stopped, and found again after a restart.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ovi/v1/node.pb.h"
#include "worker/agent/event_loop.h"
#include "worker/agent/group_folder.h"
#include "worker/agent/live_group.h"
#include "worker/group/group_files.h"

namespace ovi {

// A GPU, to those who start ranks on it.
struct GroupGpu {
  bool declared = false;  // computed on the CPU
  std::string uuid;
  int share = 1;  // how fast it is beside the others
};

// The shares, or none where all are alike.
std::vector<int> UnlessAlike(std::vector<int> shares);

struct GroupSettings {
  std::string groups_dir;  // absolute; made where it is missing
  std::string node;
  std::string models_dir;
  // Where the model's weights are, "" = beside its configuration; or why it cannot be used.
  std::function<absl::StatusOr<std::string>(const std::string& model_name)> weights_dir_of;
  std::string coordinator_address;  // for groups that are told no other
  std::string mpirun, worker;       // programs
  std::string keeper;               // ovi-agent
  std::string tls_ca_file;          // "" = plain connections
  int threads_per_rank = 1;
  std::vector<std::string> environment;  // "NAME=value", on top of the agent's own
  std::vector<GroupGpu> gpus;            // by index
};

// A group that lives, for those who need to know which processes are ours.
struct LivingGroup {
  v1::GroupFound facts;
  pid_t keeper_pid = 0;
};

struct GroupCounts {
  int starting = 0;  // its first process does not run yet
  int running = 0;
  int stopping = 0;
};

// Everything runs on the loop's thread, but Living, which any thread may call. The loop outlives it.
class Groups {
 public:
  struct Listener {
    // `took`: since the order; nullopt where the group was started before.
    std::function<void(const v1::GroupStarted&, std::optional<std::chrono::milliseconds> took)> started;
    std::function<void()> not_started;                   // an order failed; before the `exited` that says why
    std::function<void(const v1::GroupExited&)> exited;  // also for groups that ended while no agent ran
  };

  // Finds the groups that an earlier agent left. May call `listener` before it returns.
  static absl::StatusOr<std::unique_ptr<Groups>> Open(GroupSettings settings, EventLoop& loop,
                                                      Listener listener);
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;

  // Answered by `started`, or by `exited` with launched = false. For a group that lives already it is
  // answered again.
  void Start(const v1::StartGroup& order);
  // Answered by `exited`, at once for a group that does not live. SIGTERM to its ranks; after `grace` SIGKILL
  // to all of it. A second call can shorten the grace, not lengthen it.
  void Stop(const std::string& group_id, std::chrono::milliseconds grace);
  void StopAll(std::chrono::milliseconds grace);
  bool empty() const { return groups_.empty(); }
  GroupCounts Counts() const;

  // The end of what it printed, also of one that has ended. NOT_FOUND, also for what can be no group's id.
  absl::StatusOr<std::string> LogTail(const std::string& group_id, std::int64_t bytes_max) const;

  std::vector<LivingGroup> Living() const;

 private:
  Groups(GroupSettings settings, EventLoop& loop, Listener listener);

  GroupFolder FolderOf(const std::string& group_id) const;
  std::shared_ptr<LiveGroup> Add(const std::string& group_id, GroupFacts facts);
  void Find(const std::string& group_id);
  absl::Status Launch(const v1::StartGroup& order);
  absl::StatusOr<std::string> VisibleDevices(const std::vector<int>& gpu_indices) const;
  std::vector<int> SharesOf(const std::vector<int>& gpu_indices) const;
  void GroupsChanged();
  void OnStarted(const std::string& group_id, std::chrono::steady_clock::duration took);
  void OnEnded(const std::string& group_id, const ExitRecord& record);
  void TellStarted(const LiveGroup& group, std::optional<std::chrono::milliseconds> took) const;
  void TellExited(const std::string& group_id, const ExitRecord& record) const;

  const GroupSettings settings_;
  EventLoop& loop_;
  const Listener listener_;
  std::map<std::string, std::shared_ptr<LiveGroup>> groups_;

  mutable std::mutex mutex_;
  std::vector<LivingGroup> living_;  // guarded by mutex_
};

}  // namespace ovi
