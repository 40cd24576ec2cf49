// Child processes: how they are started, fed, heard and ended, and what of ours they do not see.
#include "base/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/unique_fd.h"

namespace ovi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::span<const std::uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

absl::StatusOr<CapturedRun> Shell(const std::string& script, const CaptureLimits& limits = {}) {
  return RunAndCapture({"/bin/sh", "-c", script}, limits);
}

TEST(RunAndCapture, BringsOutputErrorsAndExitCode) {
  const auto run = Shell("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->stdout_text, "out\n");
  EXPECT_EQ(run->stderr_tail, "err\n");
  EXPECT_EQ(run->exit.ToString(), "exit code 3");
  EXPECT_FALSE(run->exit.ok());
}

TEST(RunAndCapture, NamesTheSignalThatEndedTheChild) {
  const auto run = Shell("kill -9 $$");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->exit.ToString(), "killed by signal 9 (Killed)");
  EXPECT_FALSE(run->exit.ok());
}

TEST(RunAndCapture, TakesAsMuchOutputAsAllowedAndNoMore) {
  const auto fits = Shell("head -c 100000 /dev/zero", {.stdout_bytes_max = 100000});
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_EQ(fits->stdout_text.size(), 100000u);
  const auto endless = Shell("cat /dev/zero", {.stdout_bytes_max = 100000});
  EXPECT_EQ(endless.status().code(), absl::StatusCode::kResourceExhausted) << endless.status();
}

TEST(RunAndCapture, KillsWhatTakesTooLong) {
  const auto begin = steady_clock::now();
  for (const char* script : {"exec sleep 30", "exec >&-; exec sleep 30"}) {  // with stdout open, and closed
    const auto run = Shell(script, {.timeout = milliseconds(50)});
    EXPECT_EQ(run.status().code(), absl::StatusCode::kDeadlineExceeded) << run.status();
  }
  EXPECT_LT(steady_clock::now() - begin, milliseconds(5000));
}

TEST(RunAndCapture, HasNoInput) {
  const auto run = Shell("cat; echo end");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->stdout_text, "end\n");
}

TEST(Subprocess, SaysWhichProgramIsMissing) {
  const auto missing = RunAndCapture({"ovi-no-such-program"});
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("ovi-no-such-program"), absl::string_view::npos);
  EXPECT_EQ(RunAndCapture({"/tmp"}).status().code(), absl::StatusCode::kNotFound);  // a folder is no program
  EXPECT_EQ(FindProgram("").status().code(), absl::StatusCode::kNotFound);
}

TEST(Subprocess, SaysWhyTheSystemCannotRunAFile) {
  std::string path = testing::TempDir() + "/ovi-broken-program-XXXXXX";
  UniqueFd fd(::mkstemp(path.data()));
  ASSERT_EQ(::write(fd.get(),
                    "\x7f"
                    "ELFbroken",
                    10),
            10);
  ::fchmod(fd.get(), 0700);
  fd.Reset();
  const auto run = RunAndCapture({path});
  EXPECT_EQ(run.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(run.status().message().find("Exec format error"), absl::string_view::npos) << run.status();
  ::unlink(path.c_str());
}

TEST(Subprocess, FeedsMoreThanAPipeHolds) {
  const auto child = Subprocess::Start({"/bin/sh", "-c", "wc -c"}, {.stdin_stream = StandardStream::kPipe,
                                                                    .stdout_stream = StandardStream::kPipe});
  ASSERT_TRUE(child.ok()) << child.status();
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*child)->WriteStdin(Bytes(megabyte)).ok());
  EXPECT_TRUE((*child)->Wait().ok());  // closes stdin, else wc would wait for ever
  char text[32] = {};
  ASSERT_GT(::read((*child)->stdout_fd(), text, sizeof(text) - 1), 0);
  EXPECT_EQ(std::string(text), "3145728\n");
}

TEST(Subprocess, SurvivesAChildThatStopsReading) {
  const auto child = Subprocess::Start({"/bin/sh", "-c", "exec <&-; echo no more >&2; exit 7"},
                                       {.stdin_stream = StandardStream::kPipe});
  ASSERT_TRUE(child.ok()) << child.status();
  const std::string megabyte(1 << 20, 'x');
  const absl::Status written = (*child)->WriteStdin(Bytes(megabyte));  // SIGPIPE is at its default: deadly
  EXPECT_EQ(written.code(), absl::StatusCode::kUnavailable) << written;
  EXPECT_EQ((*child)->Wait().ToString(), "exit code 7");
  EXPECT_EQ((*child)->stderr_tail(), "no more\n");
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0);
}

TEST(Subprocess, KeepsOnlyTheEndOfALongStderr) {
  SubprocessOptions options;
  options.stderr_bytes_max = 1000;
  const auto child = Subprocess::Start(
      {"/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; printf end >&2"}, options);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_TRUE((*child)->Wait().ok());
  EXPECT_EQ((*child)->stderr_tail(), std::string(997, 'x') + "end");
}

TEST(Subprocess, DoesNotWaitForGrandchildrenThatHoldStderr) {
  const auto begin = steady_clock::now();
  const auto child = Subprocess::Start({"/bin/sh", "-c", "sleep 5 & echo $! >&2"}, {});
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_TRUE((*child)->Wait().ok());
  EXPECT_LT(steady_clock::now() - begin, milliseconds(4000));
  ::kill(std::stoi((*child)->stderr_tail()), SIGKILL);
}

TEST(Subprocess, PassesOnlyTheNamedDescriptors) {
  UniqueFd leaky(::fcntl(2, F_DUPFD, 50));  // no close-on-exec, as libraries do; above the shell's own
  ASSERT_TRUE(leaky.valid());
  const auto run = Shell("for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->stdout_text.find("\n" + std::to_string(leaky.get()) + "\n"), std::string::npos)
      << run->stdout_text;
}

TEST(Subprocess, MapsDescriptorsThatOverlap) {
  // The numbers the child wants are taken in the parent, crosswise.
  int first[2], second[2];
  ASSERT_EQ(::pipe2(first, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(second, O_CLOEXEC), 0);
  ASSERT_EQ(::write(first[1], "first", 5), 5);
  ASSERT_EQ(::write(second[1], "second", 6), 6);
  ::close(first[1]);
  ::close(second[1]);
  const int low = std::min(first[0], second[0]), high = std::max(first[0], second[0]);
  ASSERT_LT(high, 10);  // /bin/sh knows one-digit descriptors only
  SubprocessOptions options;
  options.stdout_stream = StandardStream::kPipe;
  options.fds = {{low, high}, {high, low}};
  const std::string script = "cat <&" + std::to_string(low) + "; echo; cat <&" + std::to_string(high);
  const auto child = Subprocess::Start({"/bin/sh", "-c", script}, options);
  ASSERT_TRUE(child.ok()) << child.status();
  EXPECT_TRUE((*child)->Wait().ok());
  char text[64] = {};
  ASSERT_GT(::read((*child)->stdout_fd(), text, sizeof(text) - 1), 0);
  EXPECT_EQ(std::string(text), low == first[0] ? "second\nfirst" : "first\nsecond");
  ::close(first[0]);
  ::close(second[0]);
}

TEST(Subprocess, StartsTheChildWithCleanSignals) {
  sigset_t blocked, before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto old_handler = ::signal(SIGPIPE, SIG_IGN);
  const auto run = Shell("grep -E 'SigBlk|SigIgn' /proc/self/status");
  ::signal(SIGPIPE, old_handler);
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, &before, &after);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_NE(run->stdout_text.find("SigBlk:\t0000000000000000"), std::string::npos) << run->stdout_text;
  const std::size_t ignored = run->stdout_text.find("SigIgn:\t");
  ASSERT_NE(ignored, std::string::npos);
  const std::uint64_t mask = std::stoull(run->stdout_text.substr(ignored + 8, 16), nullptr, 16);
  EXPECT_EQ(mask >> (SIGPIPE - 1) & 1, 0u);
  EXPECT_EQ(::sigismember(&after, SIGTERM), 1);  // and ours are as we left them
}

TEST(Subprocess, KillsAndReapsWhenDestroyed) {
  pid_t pid;
  {
    const auto child = Subprocess::Start({"/bin/sleep", "30"}, {});
    ASSERT_TRUE(child.ok()) << child.status();
    pid = (*child)->pid();
    EXPECT_FALSE((*child)->HasEnded());
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Subprocess, DiesWithTheThreadThatStartedItWhenAsked) {
  std::unique_ptr<Subprocess> child;
  std::thread starter([&] {
    SubprocessOptions options;
    options.dies_with_parent = true;
    auto started = Subprocess::Start({"/bin/sleep", "30"}, options);
    if (started.ok()) child = *std::move(started);
  });
  starter.join();
  ASSERT_NE(child, nullptr);
  EXPECT_EQ(child->Wait().signal, SIGKILL);
}

TEST(Subprocess, MayHaveAProcessGroupOfItsOwn) {
  for (const bool own : {false, true}) {
    SubprocessOptions options;
    options.own_process_group = own;
    const auto child = Subprocess::Start({"/bin/sleep", "30"}, options);
    ASSERT_TRUE(child.ok()) << child.status();
    EXPECT_EQ(::getpgid((*child)->pid()), own ? (*child)->pid() : ::getpgid(0));
  }
}

TEST(Subprocess, IsStartedFromSeveralThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::vector<std::string> texts(4);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([i, &texts] {
      for (int k = 0; k < 10; ++k) {
        const auto run = Shell("echo " + std::to_string(i));
        texts[i] += run.ok() ? run->stdout_text : run.status().ToString();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::string expected;
    for (int k = 0; k < 10; ++k) expected += std::to_string(i) + "\n";
    EXPECT_EQ(texts[i], expected);
  }
}

TEST(LastWords, JoinsTheLastLinesIntoOne) {
  struct Case {
    const char* name;
    std::string text;
    std::string expected;
  };
  const Case cases[] = {
      {"nothing", "", ""},
      {"blank lines only", "\n \n\r\n", ""},
      {"one line without an end", "boom", "boom"},
      {"the last three of four", "a\nb\nc\nd\n", "b; c; d"},
      {"carriage returns end lines", "10%\r20%\rfailed\n", "10%; 20%; failed"},
      {"control characters go", "\x1b[31mred\x1b[0m\tx", "[31mred[0mx"},
      {"long lines are cut", std::string(400, 'x'), std::string(300, 'x') + "..."},
  };
  for (const Case& c : cases) EXPECT_EQ(LastWords(c.text), c.expected) << c.name;
  EXPECT_EQ(LastWords("a\nb", 1), "b");
}

}  // namespace
}  // namespace ovi
