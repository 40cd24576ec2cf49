// One group that lives: watched until nothing of it is left, and stopped on order.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/unique_fd.h"
#include "worker/agent/event_loop.h"
#include "worker/agent/group_folder.h"
#include "worker/agent/group_launch.h"
#include "worker/group/group_files.h"

namespace ovi {

// On the loop's thread. The loop and whatever the callbacks use outlive it.
class LiveGroup : public std::enable_shared_from_this<LiveGroup> {
 public:
  struct Callbacks {
    std::function<void()> started;                 // of one that was launched: its leader runs
    std::function<void()> found;                   // of one that was found: its processes are known
    std::function<void(const ExitRecord&)> ended;  // once, when nothing of it is left; may drop the group
  };

  // `facts` may be those of nobody, of a folder that is not readable any more.
  LiveGroup(EventLoop& loop, GroupFolder folder, GroupFacts facts, Callbacks callbacks);
  ~LiveGroup();
  LiveGroup(const LiveGroup&) = delete;
  LiveGroup& operator=(const LiveGroup&) = delete;

  // One of the three, once, after it is held by a shared_ptr; each may call back before it returns.
  void WatchLaunched(LaunchedKeeper keeper);
  void WatchFound();        // started by an earlier agent, and its keeper lives
  void EndWithoutKeeper();  // its keeper is gone without a word; what it left is killed

  // SIGTERM to the ranks; after `grace` SIGKILL to everything. A second call can shorten the grace, not
  // lengthen it.
  void Stop(std::chrono::milliseconds grace);

  const std::string& id() const { return facts_.group_id; }
  const GroupFacts& facts() const { return facts_; }
  pid_t keeper_pid() const { return keeper_pid_; }  // 0 while it is not known
  pid_t leader_pid() const { return leader_pid_; }  // likewise
  bool stopping() const { return kill_at_.has_value(); }

 private:
  using Clock = std::chrono::steady_clock;

  // Calls (this->*work)() after `delay`, if the group is still there then.
  void Later(std::chrono::milliseconds delay, void (LiveGroup::*work)());
  void Watch(int fd, void (LiveGroup::*on_ready)());

  void LookForKeeper();
  void WatchKeeper();
  void PollKeeper();
  void ReadStatus();
  void OnKeeperEnded();
  void Terminate() const;
  void KillAll();
  std::set<pid_t> Members() const;

  EventLoop& loop_;
  const GroupFolder folder_;
  const GroupFacts facts_;
  const Callbacks callbacks_;
  pid_t keeper_pid_ = 0;
  pid_t leader_pid_ = 0;
  bool saw_keeper_end_ = false;
  int looks_ = 0;
  UniqueFd keeper_fd_, status_fd_;
  std::optional<Clock::time_point> kill_at_;  // set once it is to stop
  std::chrono::milliseconds kill_pause_{20};
};

}  // namespace ovi
