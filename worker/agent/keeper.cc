#include "worker/agent/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/process_info.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "worker/agent/group_folder.h"
#include "worker/agent/group_log.h"
#include "worker/agent/host_facts.h"
#include "worker/agent/process_tree.h"
#include "worker/agent/rank_death.h"

namespace ovi {
namespace {

// Between two looks at processes that were killed and are still there.
constexpr int kSweepMs = 20;
// Of the output, in which mpirun says who died.
constexpr std::int64_t kLastWordsBytesMax = 64 << 10;

class Keeper {
 public:
  explicit Keeper(const std::string& dir) : folder_(dir), log_(dir) {}

  absl::Status Start(const std::vector<std::string>& argv);
  // Returns when the leader has ended and nothing of the group is left.
  ExitRecord WaitForEnd();

 private:
  absl::StatusOr<UniqueFd> BlockSignals();
  absl::Status StartLeader(const std::vector<std::string>& argv);
  void WaitForSomething(int timeout_ms);
  void ReadOutput();
  bool Reap();  // false once no child is left
  void KillRest();

  GroupFolder folder_;
  GroupLogWriter log_;
  UniqueFd signal_fd_, output_;
  pid_t leader_ = 0;
  std::optional<ExitRecord> exit_;
};

absl::StatusOr<UniqueFd> Keeper::BlockSignals() {
  // Blocked, not ignored: an ignored signal would stay ignored in mpirun.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "cannot make a signalfd");
  return fd;
}

absl::Status Keeper::Start(const std::vector<std::string>& argv) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "ovi-keeper");
  for (const int fd : {kKeeperLockFd, kKeeperStatusFd}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  OVI_ASSIGN_OR_RETURN(signal_fd_, BlockSignals());

  ProcessRecord record;
  record.keeper_pid = ::getpid();
  if (const std::optional<ProcessInfo> self = ReadProcess(::getpid()))
    record.keeper_start_ticks = self->start_ticks;
  record.boot_id = ReadBootId();
  OVI_RETURN_IF_ERROR(folder_.Write(record));
  OVI_RETURN_IF_ERROR(StartLeader(argv));
  record.leader_pid = leader_;
  const absl::Status recorded = folder_.Write(record);
  if (!recorded.ok())
    log_.Append(absl::StrCat("keeper: ", std::string(recorded.message()), "\n"));  // runs all the same

  const std::string pid = absl::StrCat(leader_, "\n");
  [[maybe_unused]] const ssize_t written =
      ::write(kKeeperStatusFd, pid.data(), pid.size());  // the agent may be gone
  ::close(kKeeperStatusFd);
  return absl::OkStatus();
}

absl::Status Keeper::StartLeader(const std::vector<std::string>& argv) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "cannot make a pipe");
  output_.Reset(fds[0]);
  const UniqueFd write_end(fds[1]);
  ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  OVI_ASSIGN_OR_RETURN(
      const std::unique_ptr<Subprocess> leader,
      Subprocess::Start(argv, {.stdin_stream = StandardStream::kNull,
                               .stdout_stream = StandardStream::kNull,
                               .stderr_stream = StandardStream::kNull,
                               .fds = {{write_end.get(), STDOUT_FILENO}, {write_end.get(), STDERR_FILENO}},
                               .dies_with_parent = true}));
  leader_ = leader->Detach();  // Reap sees to it, and to the orphans that become our children
  return absl::OkStatus();
}

void Keeper::WaitForSomething(int timeout_ms) {
  pollfd polled[2] = {{signal_fd_.get(), POLLIN, 0}, {output_.get(), POLLIN, 0}};
  ::poll(polled, output_.valid() ? 2 : 1, timeout_ms);
  signalfd_siginfo ignored;
  while (::read(signal_fd_.get(), &ignored, sizeof(ignored)) > 0) {
  }
  ReadOutput();
}

void Keeper::ReadOutput() {
  char buffer[65536];
  while (output_.valid()) {
    const ssize_t count = ::read(output_.get(), buffer, sizeof(buffer));
    if (count > 0) {
      log_.Append({buffer, static_cast<std::size_t>(count)});
    } else if (count == 0) {
      output_.Reset();
    } else if (errno != EINTR) {
      return;  // nothing there now
    }
  }
}

bool Keeper::Reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) return false;  // ECHILD
    if (pid == 0) return true;
    if (pid != leader_ || exit_) continue;
    exit_ = ExitRecord{.launched = true};
    if (WIFSIGNALED(status)) {
      exit_->signal = WTERMSIG(status);
    } else {
      exit_->exit_code = WEXITSTATUS(status);
    }
  }
}

void Keeper::KillRest() {
  // As the subreaper we become the parent of every orphan, so when no child is left, nobody is.
  while (Reap()) {
    SendSignal(MembersUnder(ListProcesses(), ::getpid()), SIGKILL);
    WaitForSomething(kSweepMs);
  }
}

ExitRecord Keeper::WaitForEnd() {
  while (!exit_) {
    WaitForSomething(-1);
    Reap();
  }
  KillRest();
  ReadOutput();
  // Of several ranks that ended only mpirun knows which was the first.
  const bool failed = exit_->signal != 0 || exit_->exit_code != 0;
  const absl::StatusOr<std::string> output = ReadGroupLogTail(folder_.path(), kLastWordsBytesMax);
  if (failed && output.ok()) exit_->message = DescribeRankDeath(*output);
  folder_.RemoveScratch();
  return *exit_;
}

}  // namespace

int KeepGroup(const std::string& dir, const std::vector<std::string>& argv) {
  Keeper keeper(dir);
  ExitRecord record;
  const absl::Status started = keeper.Start(argv);
  if (started.ok()) {
    record = keeper.WaitForEnd();
  } else {
    record.message = std::string(started.message());
  }
  const absl::Status written = GroupFolder(dir).Write(record);
  if (!written.ok())
    GroupLogWriter(dir).Append(absl::StrCat("keeper: ", std::string(written.message()), "\n"));
  return started.ok() && written.ok() ? 0 : 1;
}

}  // namespace ovi
