#include "base/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace ovi {
namespace {

struct Pipe {
  UniqueFd read_end, write_end;
};

absl::Status SystemError(const std::string& what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::generic_category().message(error)));
}

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Blocks every signal in this thread while it lives.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// Keeps a SIGPIPE caused by this thread's writes from being delivered, without touching the process-wide
// handler.
class SigpipeSwallowed {
 public:
  SigpipeSwallowed() {
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeSwallowed() {
    const timespec no_wait{};
    if (!was_pending_) {
      while (::sigtimedwait(&sigpipe_, nullptr, &no_wait) < 0 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  bool was_pending_ = false;
  sigset_t sigpipe_, before_;
};

// All the child needs between vfork and exec, prepared before: the child shares our memory and may not
// allocate.
struct ChildPlan {
  const char* program = nullptr;
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  const InheritedFd* fds = nullptr;  // sources lie above every target, so no dup2 overwrites a later source
  std::size_t fds_count = 0;
  int error_fd = -1;
  pid_t parent = 0;
  bool dies_with_parent = false;
  bool own_process_group = false;
  bool own_session = false;
};

[[noreturn]] void RunChild(const ChildPlan& plan) {
  // Handlers of the parent must not run here, on memory that is the parent's; so to the default before
  // unblocking.
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action;
    if (::sigaction(number, nullptr, &action) != 0) continue;
    if (action.sa_handler == SIG_DFL || (action.sa_handler == SIG_IGN && number != SIGPIPE)) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(number, &action, nullptr);
  }
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // older kernels lack it: then close-on-exec flags alone count
  bool ready = true;
  for (std::size_t i = 0; i < plan.fds_count && ready; ++i) {
    ready = ::dup2(plan.fds[i].parent_fd, plan.fds[i].child_fd) >= 0;
  }
  if (ready && plan.own_process_group && !plan.own_session) ready = ::setpgid(0, 0) == 0;
  if (ready && plan.own_session) ready = ::setsid() >= 0;
  if (ready && plan.dies_with_parent) {
    ready = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    if (::getppid() != plan.parent) ::_exit(127);  // it died before we asked
  }
  if (ready) {
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(plan.program, plan.argv, plan.environment);
  }
  const int error = errno;
  // A failed write leaves the parent with an empty pipe and exit code 127, which says the same less well.
  [[maybe_unused]] const ssize_t written = ::write(plan.error_fd, &error, sizeof(error));
  ::_exit(127);
}

// vfork, not fork: a worker holds tens of gigabytes, whose page tables fork would copy, and under strict
// overcommit it would fail. posix_spawn does the same inside, but knows no PR_SET_PDEATHSIG.
// Not inlined, so that the child's use of this frame disturbs no other.
[[gnu::noinline]] pid_t Spawn(const ChildPlan& plan) {
  const pid_t pid = ::vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (pid == 0) RunChild(plan);
  return pid;
}

absl::StatusOr<UniqueFd> DuplicateAbove(int fd, int fd_min) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, fd_min));
  if (!copy.valid()) return SystemError(absl::StrCat("cannot duplicate descriptor ", fd), errno);
  return copy;
}

// Reads `fd` (non-blocking) until it ends, or until `stop_fd` is readable and nothing is left at once: a
// grandchild may hold the other end open for ever.
void KeepTail(int fd, int stop_fd, std::size_t bytes_max, std::string* tail) {
  char buffer[4096];
  bool stopping = false;
  for (;;) {
    const ssize_t count = ::read(fd, buffer, sizeof(buffer));
    if (count > 0) {
      tail->append(buffer, static_cast<std::size_t>(count));
      if (tail->size() > bytes_max) tail->erase(0, tail->size() - bytes_max);
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
      return;
    } else if (errno == EAGAIN) {
      if (stopping) return;
      pollfd polled[2] = {{fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
      if (::poll(polled, 2, -1) > 0 && polled[1].revents != 0) stopping = true;
    }
  }
}

// As execve wants them. They point into `texts`.
std::vector<char*> PointersTo(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

ExitStatus Decode(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.code = 0, .signal = WTERMSIG(wait_status)};
  return {.code = WEXITSTATUS(wait_status), .signal = 0};
}

}  // namespace

std::string ExitStatus::ToString() const {
  if (signal == 0) return absl::StrCat("exit code ", code);
  const char* description = ::sigdescr_np(signal);
  return absl::StrCat("killed by signal ", signal, " (", description != nullptr ? description : "unknown",
                      ")");
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  const auto runnable = [](const std::string& path) {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string::npos) {
    if (runnable(name)) return name;
    return absl::NotFoundError(absl::StrCat(name, ": no such program"));
  }
  const char* variable = std::getenv("PATH");
  const std::string path = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  for (std::size_t begin = 0; begin <= path.size() && !name.empty();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string folder = end > begin ? path.substr(begin, end - begin) : ".";
    std::string candidate = absl::StrCat(folder, "/", name);
    if (runnable(candidate)) return candidate;
    begin = end + 1;
  }
  return absl::NotFoundError(absl::StrCat(name, ": no such program in PATH=", path));
}

struct Subprocess::State {
  pid_t pid = -1;
  std::string program;
  UniqueFd stdin_fd, stdout_fd, stderr_fd, stop_fd;
  std::thread stderr_reader;
  std::string stderr_tail;
  bool ended = false;
  ExitStatus exit;

  ~State() { StopReader(); }

  void StopReader() {
    if (!stderr_reader.joinable()) return;
    const std::uint64_t one = 1;
    while (::write(stop_fd.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    stderr_reader.join();
  }

  // True once the child is reaped. `flags` as for waitpid.
  bool Reap(int flags) {
    if (ended) return true;
    int wait_status = 0;
    pid_t reaped;
    do {
      reaped = ::waitpid(pid, &wait_status, flags);
    } while (reaped < 0 && errno == EINTR);
    if (reaped == 0) return false;
    // ECHILD: the process ignores SIGCHLD or waits for any child somewhere else.
    exit = reaped == pid ? Decode(wait_status) : ExitStatus{.code = -1, .signal = 0};
    ended = true;
    StopReader();
    return true;
  }
};

Subprocess::Subprocess(std::unique_ptr<State> state) : state_(std::move(state)) {}

Subprocess::~Subprocess() {
  Kill(SIGKILL);
  Wait();
}

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(const std::vector<std::string>& argv,
                                                              const SubprocessOptions& options) {
  OVI_CHECK(!argv.empty());
  auto state = std::make_unique<State>();
  OVI_ASSIGN_OR_RETURN(state->program, FindProgram(argv[0]));

  // What each descriptor of the child is made of, and our ends of its pipes.
  std::vector<InheritedFd> wanted;
  std::vector<UniqueFd> child_ends;
  const auto give = [&](UniqueFd fd, int child_fd) {
    wanted.push_back({fd.get(), child_fd});
    child_ends.push_back(std::move(fd));
  };
  const StandardStream streams[3] = {options.stdin_stream, options.stdout_stream, options.stderr_stream};
  UniqueFd* our_ends[3] = {&state->stdin_fd, &state->stdout_fd, &state->stderr_fd};
  for (int child_fd = 0; child_fd < 3; ++child_fd) {
    if (streams[child_fd] == StandardStream::kNull) {
      UniqueFd null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
      if (!null_device.valid()) return SystemError("cannot open /dev/null", errno);
      give(std::move(null_device), child_fd);
    } else if (streams[child_fd] == StandardStream::kPipe) {
      OVI_ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
      *our_ends[child_fd] = std::move(child_fd == 0 ? pipe.write_end : pipe.read_end);
      give(std::move(child_fd == 0 ? pipe.read_end : pipe.write_end), child_fd);
    }
  }
  wanted.insert(wanted.end(), options.fds.begin(), options.fds.end());

  int child_fd_max = 2;
  for (const InheritedFd& fd : wanted) child_fd_max = std::max(child_fd_max, fd.child_fd);
  for (InheritedFd& fd : wanted) {
    OVI_ASSIGN_OR_RETURN(UniqueFd copy, DuplicateAbove(fd.parent_fd, child_fd_max + 1));
    fd.parent_fd = copy.get();
    child_ends.push_back(std::move(copy));
  }
  OVI_ASSIGN_OR_RETURN(Pipe error_pipe, MakePipe());
  OVI_ASSIGN_OR_RETURN(UniqueFd error_fd, DuplicateAbove(error_pipe.write_end.get(), child_fd_max + 1));
  error_pipe.write_end.Reset();

  const std::vector<char*> arguments = PointersTo(argv);
  std::vector<char*> variables;
  if (options.environment) variables = PointersTo(*options.environment);

  {
    const AllSignalsBlocked blocked;  // the reader thread inherits the mask, so signals go to the others
    if (state->stderr_fd.valid()) {
      state->stop_fd.Reset(::eventfd(0, EFD_CLOEXEC));
      if (!state->stop_fd.valid()) return SystemError("cannot make an eventfd", errno);
      ::fcntl(state->stderr_fd.get(), F_SETFL, O_NONBLOCK);
      try {
        state->stderr_reader =
            std::thread(KeepTail, state->stderr_fd.get(), state->stop_fd.get(),
                        static_cast<std::size_t>(options.stderr_bytes_max), &state->stderr_tail);
      } catch (const std::system_error& error) {
        return absl::UnavailableError(absl::StrCat("cannot start a thread: ", error.what()));
      }
    }
    state->pid = Spawn({.program = state->program.c_str(),
                        .argv = arguments.data(),
                        .environment = options.environment ? variables.data() : environ,
                        .fds = wanted.data(),
                        .fds_count = wanted.size(),
                        .error_fd = error_fd.get(),
                        .parent = ::getpid(),
                        .dies_with_parent = options.dies_with_parent,
                        .own_process_group = options.own_process_group,
                        .own_session = options.own_session});
    if (state->pid < 0) return SystemError(absl::StrCat("cannot start ", state->program), errno);
  }

  // Ends at the child's exec, which closes its end, or brings the errno of what failed.
  child_ends.clear();
  error_fd.Reset();
  int child_error = 0;
  ssize_t count;
  do {
    count = ::read(error_pipe.read_end.get(), &child_error, sizeof(child_error));
  } while (count < 0 && errno == EINTR);
  if (count == static_cast<ssize_t>(sizeof(child_error))) {
    state->Reap(0);
    return SystemError(absl::StrCat("cannot start ", state->program), child_error);
  }
  return std::unique_ptr<Subprocess>(new Subprocess(std::move(state)));
}

pid_t Subprocess::pid() const {
  return state_->pid;
}
int Subprocess::stdout_fd() const {
  return state_->stdout_fd.get();
}

absl::Status Subprocess::WriteStdin(std::span<const std::uint8_t> bytes) {
  OVI_CHECK(state_->stdin_fd.valid());
  const SigpipeSwallowed swallowed;
  while (!bytes.empty()) {
    const ssize_t count = ::write(state_->stdin_fd.get(), bytes.data(), bytes.size());
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno == EPIPE) {
      return absl::UnavailableError(absl::StrCat(state_->program, " has stopped reading its input"));
    } else if (errno != EINTR) {
      return SystemError(absl::StrCat("cannot write to ", state_->program), errno);
    }
  }
  return absl::OkStatus();
}

void Subprocess::CloseStdin() {
  state_->stdin_fd.Reset();
}

void Subprocess::Kill(int signal) {
  if (!state_->ended) ::kill(state_->pid, signal);
}

ExitStatus Subprocess::Wait() {
  CloseStdin();
  state_->Reap(0);
  return state_->exit;
}

bool Subprocess::HasEnded() {
  return state_->Reap(WNOHANG);
}

pid_t Subprocess::Detach() {
  OVI_CHECK(!state_->stderr_reader.joinable());
  CloseStdin();
  state_->stdout_fd.Reset();
  state_->ended = true;
  state_->exit = {.code = -1, .signal = 0};
  return state_->pid;
}

const std::string& Subprocess::stderr_tail() const {
  OVI_CHECK(state_->ended);
  return state_->stderr_tail;
}

absl::StatusOr<CapturedRun> RunAndCapture(const std::vector<std::string>& argv, const CaptureLimits& limits) {
  const auto deadline = std::chrono::steady_clock::now() + limits.timeout;
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<Subprocess> child,
                       Subprocess::Start(argv, {.stdout_stream = StandardStream::kPipe}));
  const auto milliseconds_left = [&] {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
  };
  const auto too_late = [&] {
    return absl::DeadlineExceededError(
        absl::StrCat(argv[0], ": not done after ", limits.timeout.count(), " ms"));
  };

  CapturedRun run;
  char buffer[65536];
  for (;;) {
    pollfd polled{child->stdout_fd(), POLLIN, 0};
    const int ready = ::poll(&polled, 1, milliseconds_left());
    if (ready == 0) return too_late();
    if (ready < 0) continue;  // EINTR
    const ssize_t count = ::read(child->stdout_fd(), buffer, sizeof(buffer));
    if (count == 0) break;
    if (count < 0 && errno != EINTR) return SystemError(absl::StrCat("cannot read from ", argv[0]), errno);
    if (count < 0) continue;
    run.stdout_text.append(buffer, static_cast<std::size_t>(count));
    if (static_cast<std::int64_t>(run.stdout_text.size()) > limits.stdout_bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat(argv[0], ": printed more than stdout_bytes_max=", limits.stdout_bytes_max));
    }
  }
  // Stdout is closed; nearly always the child is gone too. Polled, since pidfds are missing in some
  // sandboxes.
  while (!child->HasEnded()) {
    if (milliseconds_left() == 0) return too_late();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  run.exit = child->Wait();
  run.stderr_tail = child->stderr_tail();
  return run;
}

std::string LastWords(std::string_view text, int lines_max) {
  constexpr std::size_t kLineBytesMax = 300;
  std::vector<std::string> lines;  // last first
  while (!text.empty() && static_cast<int>(lines.size()) < lines_max) {
    const std::size_t newline = text.find_last_of("\r\n");
    const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    std::string line;
    for (const char c : text.substr(begin)) {
      if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) line.push_back(c);
    }
    if (line.size() > kLineBytesMax) line = line.substr(0, kLineBytesMax) + "...";
    if (line.find_first_not_of(' ') != std::string::npos) lines.push_back(std::move(line));
    text = text.substr(0, begin == 0 ? 0 : newline);
  }
  std::string joined;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line)
    absl::StrAppend(&joined, joined.empty() ? "" : "; ", *line);
  return joined;
}

}  // namespace ovi
