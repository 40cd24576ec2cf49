#include "worker/agent/live_group.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/log.h"
#include "base/process_info.h"
#include "worker/agent/host_facts.h"
#include "worker/agent/process_tree.h"

namespace ovi {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollPause{200};
constexpr milliseconds kSweepPause{20};
constexpr milliseconds kKillPauseMax{1000};
// A keeper's record is complete some milliseconds after its lock is held.
constexpr milliseconds kLookPause{50};
constexpr int kLooksMax = 200;

UniqueFd OpenPidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // close-on-exec by itself
}

bool IsSameProcess(const ProcessRecord& record) {
  const std::optional<ProcessInfo> process = ReadProcess(record.keeper_pid);
  return record.boot_id == ReadBootId() && process && process->start_ticks == record.keeper_start_ticks;
}

}  // namespace

LiveGroup::LiveGroup(EventLoop& loop, GroupFolder folder, GroupFacts facts, Callbacks callbacks)
    : loop_(loop), folder_(std::move(folder)), facts_(std::move(facts)), callbacks_(std::move(callbacks)) {}

LiveGroup::~LiveGroup() {
  loop_.Unwatch(keeper_fd_.get());
  loop_.Unwatch(status_fd_.get());
}

void LiveGroup::Later(milliseconds delay, void (LiveGroup::*work)()) {
  loop_.After(delay, [weak = weak_from_this(), work] {
    if (const std::shared_ptr<LiveGroup> self = weak.lock()) (self.get()->*work)();
  });
}

void LiveGroup::Watch(int fd, void (LiveGroup::*on_ready)()) {
  loop_.Watch(fd, [weak = weak_from_this(), on_ready] {
    if (const std::shared_ptr<LiveGroup> self = weak.lock()) (self.get()->*on_ready)();
  });
}

void LiveGroup::WatchLaunched(LaunchedKeeper keeper) {
  keeper_pid_ = keeper.pid;
  status_fd_ = std::move(keeper.status_fd);
  Watch(status_fd_.get(), &LiveGroup::ReadStatus);
  WatchKeeper();
}

void LiveGroup::WatchFound() {
  LookForKeeper();
}

void LiveGroup::LookForKeeper() {
  const absl::StatusOr<ProcessRecord> record = folder_.ReadProcess();
  if (record.ok() && IsSameProcess(*record)) {
    keeper_pid_ = record->keeper_pid;
    leader_pid_ = record->leader_pid;
  }
  if (leader_pid_ == 0 && looks_++ < kLooksMax) {
    if (TryLockFile(folder_.lock_path()).ok()) {
      EndWithoutKeeper();
    } else {
      Later(kLookPause, &LiveGroup::LookForKeeper);
    }
  } else if (keeper_pid_ != 0) {
    callbacks_.found();
    WatchKeeper();
  } else {
    Log(LogLevel::kError, "group without a process record", {{"group", id()}});
    PollKeeper();
  }
}

void LiveGroup::WatchKeeper() {
  keeper_fd_ = OpenPidfd(keeper_pid_);
  if (keeper_fd_.valid()) {
    Watch(keeper_fd_.get(), &LiveGroup::OnKeeperEnded);
  } else {
    PollKeeper();  // it has ended already, or a sandbox has no pidfds
  }
}

void LiveGroup::PollKeeper() {
  if (TryLockFile(folder_.lock_path()).ok()) {
    OnKeeperEnded();
  } else {
    Later(kPollPause, &LiveGroup::PollKeeper);
  }
}

void LiveGroup::ReadStatus() {
  if (!status_fd_.valid()) return;
  char text[32];
  const ssize_t count = ::read(status_fd_.get(), text, sizeof(text));
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  loop_.Unwatch(status_fd_.get());
  status_fd_.Reset();
  if (count <= 0) return;  // not started: its exit record says why
  std::from_chars(text, text + count, leader_pid_);
  callbacks_.started();
  if (stopping()) Terminate();
}

void LiveGroup::OnKeeperEnded() {
  ReadStatus();
  loop_.Unwatch(keeper_fd_.get());
  keeper_fd_.Reset();
  saw_keeper_end_ = true;
  const absl::StatusOr<ExitRecord> record = folder_.ReadExit();
  if (record.ok()) {
    callbacks_.ended(*record);
  } else {
    EndWithoutKeeper();
  }
}

void LiveGroup::EndWithoutKeeper() {
  // A session's number is given to others once all of it are gone, so it counts only where we saw its leader
  // end.
  const pid_t session = saw_keeper_end_ ? keeper_pid_ : 0;
  const std::string mark = GroupMark(folder_.path());
  const std::set<pid_t> left = MembersLeft(
      ListProcesses(), session, [&](pid_t pid) { return HasEnvironment(pid, mark); }, ::getpid());
  if (!left.empty()) {
    SendSignal(left, SIGKILL);
    Later(kSweepPause, &LiveGroup::EndWithoutKeeper);
    return;
  }
  folder_.RemoveScratch();
  const absl::StatusOr<ProcessRecord> process = folder_.ReadProcess();
  const ExitRecord record{.launched = process.ok() && process->leader_pid != 0,
                          .message = "nobody saw it end: its keeper was killed, or the machine went down"};
  if (const absl::Status written = folder_.Write(record); !written.ok())
    Log(LogLevel::kWarning, "exit not recorded", {{"group", id()}, {"reason", written.message()}});
  callbacks_.ended(record);
}

void LiveGroup::Stop(milliseconds grace) {
  const Clock::time_point kill_at = Clock::now() + grace;
  if (kill_at_ && *kill_at_ <= kill_at) return;
  if (!kill_at_) Terminate();
  kill_at_ = kill_at;
  Later(grace, &LiveGroup::KillAll);
}

std::set<pid_t> LiveGroup::Members() const {
  const std::vector<ProcessInfo> processes = ListProcesses();
  if (keeper_pid_ != 0) return MembersUnder(processes, keeper_pid_);
  const std::string mark = GroupMark(folder_.path());
  return MembersLeft(
      processes, 0, [&](pid_t pid) { return HasEnvironment(pid, mark); }, ::getpid());
}

// To the ranks, so that they can end in order, but not to mpirun, which would kill them at once.
void LiveGroup::Terminate() const {
  if (status_fd_.valid()) return;  // nothing runs yet; ReadStatus comes back to it
  std::set<pid_t> ranks = Members();
  if (facts_.gpu_indices.size() > 1 && ranks.size() > 1) ranks.erase(leader_pid_);
  SendSignal(ranks, SIGTERM);
}

void LiveGroup::KillAll() {
  SendSignal(Members(), SIGKILL);
  // Again, until the keeper has reported: something may just have been started.
  kill_pause_ = std::min(kill_pause_ * 2, kKillPauseMax);
  Later(kill_pause_, &LiveGroup::KillAll);
}

}  // namespace ovi
