// Child processes: started without a shell, fed and heard through pipes, always reaped.
//
// Descriptors: a child gets its three standard streams and what `fds` names, nothing else (on Linux 5.11 and
// later even descriptors that somebody opened without close-on-exec stay out of it).
// Signals: a child starts with an empty mask and SIGPIPE at its default; the caller's mask and handlers are
// as before, and a child that stops reading never kills the caller with SIGPIPE.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

// How a child ended.
struct ExitStatus {
  int code = 0;    // what it returned; -1 where somebody else reaped it; 0 where a signal ended it
  int signal = 0;  // the signal that ended it, or 0

  bool ok() const { return code == 0 && signal == 0; }
  std::string ToString() const;  // "exit code 1", "killed by signal 9 (Killed)"
};

enum class StandardStream { kNull, kInherit, kPipe };

// `parent_fd` of the caller is `child_fd` in the child. 0, 1 and 2 are allowed and win over the stream
// options.
struct InheritedFd {
  int parent_fd;
  int child_fd;
};

struct SubprocessOptions {
  StandardStream stdin_stream = StandardStream::kNull;
  StandardStream stdout_stream = StandardStream::kNull;
  // kPipe: a thread reads it all the time, so the child never blocks on it, and keeps the last bytes.
  StandardStream stderr_stream = StandardStream::kPipe;
  std::int64_t stderr_bytes_max = 8192;
  std::vector<InheritedFd> fds;
  // SIGKILL for the child when the THREAD that called Start ends (PR_SET_PDEATHSIG counts threads, not
  // processes), so only for threads that live as long as the child should.
  bool dies_with_parent = false;
  // Ctrl-C at the terminal then reaches the caller only, which decides what becomes of the child.
  bool own_process_group = false;
  // A session of its own (and a process group with it): no terminal's signals, and all that it starts can be
  // told by the session's id, which is its pid.
  bool own_session = false;
  // "NAME=value" each; without it the child gets ours.
  std::optional<std::vector<std::string>> environment;
};

// The file that would run: `name` itself where it has a slash, else the first match in PATH. NOT_FOUND.
absl::StatusOr<std::string> FindProgram(const std::string& name);

// A running child. Thread-compatible. Destroying one that has not ended kills (SIGKILL) and reaps it.
class Subprocess {
 public:
  // argv[0] is looked up as FindProgram does. NOT_FOUND when there is no such program, UNAVAILABLE when the
  // system cannot start it (no processes or descriptors left).
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(const std::vector<std::string>& argv,
                                                           const SubprocessOptions& options);
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const;
  int stdout_fd() const;  // read end of its stdout, -1 unless kPipe; owned by this object

  // Writes all of `bytes` to its stdin (kPipe), blocking while the child is busy. UNAVAILABLE when the child
  // has stopped reading; Wait() then tells how it ended.
  absl::Status WriteStdin(std::span<const std::uint8_t> bytes);
  void CloseStdin();

  // Sends `signal`; does nothing once Wait has returned, so a reused pid is never hit.
  void Kill(int signal);

  // Closes stdin, waits for the end and reaps. Later calls return the same.
  ExitStatus Wait();
  // As Wait, without waiting: true once the child has ended.
  bool HasEnded();

  // Gives it up: this object neither kills nor reaps it any more (stdin and stdout pipes are closed), and all
  // that remains to call is the destructor. Not for one with a stderr pipe, whose reader would wait for it.
  pid_t Detach();

  // The last stderr_bytes_max bytes of its stderr. Only once it has ended.
  const std::string& stderr_tail() const;

 private:
  struct State;
  explicit Subprocess(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

struct CapturedRun {
  ExitStatus exit;
  std::string stdout_text;
  std::string stderr_tail;
};

struct CaptureLimits {
  std::chrono::milliseconds timeout{60'000};
  std::int64_t stdout_bytes_max = std::int64_t{16} << 20;
};

// Runs a program with no input to its end. Any exit status is a result; errors are those of Start,
// DEADLINE_EXCEEDED, and RESOURCE_EXHAUSTED for too much output (the program is killed in both).
absl::StatusOr<CapturedRun> RunAndCapture(const std::vector<std::string>& argv,
                                          const CaptureLimits& limits = {});

// The last `lines_max` non-empty lines of `text` joined by "; ", control characters removed: what a program's
// stderr has to say in a one-line error message. Long lines are cut at 300 bytes.
std::string LastWords(std::string_view text, int lines_max = 3);

}  // namespace ovi
