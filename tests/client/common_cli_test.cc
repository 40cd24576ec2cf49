// What all commands of ovictl have in common: errors, usage, settings, help, completion.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <thread>

#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

struct CommonTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  CommonTest() {
    v1::Node node;
    node.set_name("gpu-a");
    v1::Node other;
    other.set_name("gpu-b");
    cluster.SetNodes({node, other});
  }
};

TEST_F(CommonTest, EveryCommandSaysThatNobodyAnswers) {
  cluster.Stop();
  const std::vector<std::string> commands[] = {
      {"status", "1"}, {"list"},        {"watch", "1"},  {"wait", "1"},
      {"logs", "1"},   {"cancel", "1"}, {"fetch", "1"},  {"plan", "a cat"},
      {"nodes"},       {"nodes", "a"},  {"resume", "a"}, {"drain", "a", "--reason", "x"}};
  for (const std::vector<std::string>& args : commands) {
    const OvictlRun run = home.Run(args);
    EXPECT_EQ(run.exit_code, 1) << args[0];
    EXPECT_THAT(run.out, IsEmpty());
    EXPECT_EQ(run.err,
              "ovictl: coordinator " + cluster.address() +
                  " does not answer; is ovi-coordinator running? (--coordinator, OVI_COORDINATOR)\n");
  }
}

TEST_F(CommonTest, GivesUpOnACoordinatorThatHangs) {
  // The call is held until the client has gone.
  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;
  cluster.OnCall("ListNodes", [&] {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return released; });
  });
  const OvictlRun run = home.Run({"nodes", "--timeout", "0.3"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.err,
            "ovictl: coordinator " + cluster.address() + " did not answer within 0.3 s (--timeout)\n");
  const auto interrupted = home.Start({"nodes", "--timeout", "3000"});
  while (cluster.calls("ListNodes") < 2) std::this_thread::yield();
  interrupted->Kill(SIGINT);
  EXPECT_EQ(interrupted->Wait().code, 130);
  EXPECT_EQ(interrupted->stderr_tail(), "ovictl: interrupted\n");
  {
    const std::lock_guard lock(mutex);
    released = true;
  }
  changed.notify_all();
  cluster.Stop();  // waits for the calls, which use what is declared here
}

TEST_F(CommonTest, EveryCommandRefusesWrongUsage) {
  const struct {
    std::vector<std::string> args;
    const char* error;
  } rows[] = {
      {{}, "A subcommand is required; see ovictl --help"},
      {{"lst"}, "unknown command \"lst\"; see ovictl --help"},
      {{"--colour", "list"}, "The following argument was not expected: --colour; see ovictl list --help"},
      {{"submit", "--nope"}, "see ovictl submit --help"},
      {{"plan"}, "nothing to draw"},
      {{"plan", "a cat", "extra"}, "see ovictl plan --help"},
      {{"status"}, "JOB is required; see ovictl status --help"},
      {{"list", "--state", "sleeping"}, "--state: must be one of pending, configuring, "},
      {{"list", "--limit", "0"}, "--limit: "},
      {{"logs"}, "JOB is required"},
      {{"logs", "1", "2"}, "see ovictl logs --help"},
      {{"cancel"}, "JOB is required"},
      {{"watch"}, "JOB is required"},
      {{"wait"}, "JOB is required"},
      {{"fetch"}, "JOB is required"},
      {{"nodes", "a", "b"}, "see ovictl nodes --help"},
      {{"drain", "a"}, "--reason is required; see ovictl drain --help"},
      {{"drain", "--reason", "x"}, "NODE is required"},
      {{"resume"}, "NODE is required"},
      {{"doctor", "now"}, "see ovictl doctor --help"},
      {{"completion"}, "SHELL is required"},
      {{"completion", "fish"}, "there is a script for bash only, got fish"},
      {{"list", "--timeout", "0"}, "--timeout: "},
      {{"list", "--timeout", "soon"}, "--timeout"},
      {{"list", "--coordinator", "nowhere"}, "--coordinator: must be host:port"},
      {{"list", "--token-file", "/nowhere"}, "token file: /nowhere: "},
  };
  for (const auto& row : rows) {
    const OvictlRun run = home.Run(row.args);
    EXPECT_EQ(run.exit_code, 2) << row.error;
    EXPECT_THAT(run.out, IsEmpty());
    EXPECT_THAT(run.err, AllOf(StartsWith("ovictl: "), HasSubstr(row.error)));
    EXPECT_THAT(LinesOf(run.err), SizeIs(1)) << run.err;
  }
}

TEST_F(CommonTest, ReadsItsConfigurationFile) {
  std::filesystem::create_directories(home.folder() / "home/.config/ovi");
  home.Set("OVI_COORDINATOR", "");
  home.folder().Write("home/.config/ovi/config.yaml", "coordinator: " + cluster.address() + "\n");
  EXPECT_EQ(home.Run({"nodes", "-q"}).out, "gpu-a\ngpu-b\n");
  const std::string path = home.folder().Write("home/.config/ovi/config.yaml", "cordinator: x\n");
  const OvictlRun run = home.Run({"nodes"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err, "ovictl: " + path + ":1: unknown key \"cordinator\"; did you mean \"coordinator\"?\n");
  home.Set("XDG_CONFIG_HOME", home.folder() / "xdg");
  std::filesystem::create_directories(home.folder() / "xdg/ovi");
  home.folder().Write("xdg/ovi/config.yaml", "coordinator: " + cluster.address() + "\n");
  EXPECT_EQ(home.Run({"nodes", "-q"}).exit_code, 0);
}

TEST_F(CommonTest, ExplainsItself) {
  EXPECT_THAT(home.Run({"--version"}).out, testing::MatchesRegex("ovictl [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  for (const char* command : {"submit", "plan", "status", "list", "logs", "cancel", "watch", "wait", "fetch",
                              "nodes", "drain", "resume", "doctor", "completion"}) {
    EXPECT_THAT(home.Run({"--help"}).out, HasSubstr(std::string("\n  ") + command + " "));
    const OvictlRun run = home.Run({command, "--help"});
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_THAT(run.out, HasSubstr("Usage: ovictl " + std::string(command)));
    EXPECT_THAT(run.err, IsEmpty());
  }
}

TEST_F(CommonTest, FailsWhenItsOutputIsLost) {
  std::string command;
  for (const std::string& word : home.Argv({"nodes"})) command += "'" + word + "' ";
  const absl::StatusOr<CapturedRun> run = RunAndCapture({"sh", "-c", command + "> /dev/full"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->exit.code, 1);
  EXPECT_EQ(run->stderr_tail, "ovictl: cannot write to stdout\n");
}

TEST_F(CommonTest, CompletionCanBeInstalled) {
  const std::string program = home.folder() / "ovictl";
  std::filesystem::create_symlink(home.Argv({}).back(), program);
  const absl::StatusOr<CapturedRun> run =
      RunAndCapture({"env", "PATH=" + home.folder().path() + ":/usr/bin:/bin", "bash", "--norc", "-c",
                     "source " OVI_SOURCE_DIR "/deploy/completion/ovictl; complete -p ovictl"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->stdout_text, "complete -F _ovictl ovictl\n");
}

// What bash would offer after `words` (the last one is being typed).
std::vector<std::string> Complete(const OvictlHome& home, const std::vector<std::string>& words) {
  const std::string script = home.folder().Write("completion", home.Run({"completion", "bash"}).out);
  std::string program;
  for (const std::string& word : home.Argv({})) program += "'" + word + "' ";
  const std::string wrapper = home.folder().Write("ovictl", "#!/bin/sh\nexec " + program + "\"$@\"\n");
  EXPECT_EQ(::chmod(wrapper.c_str(), 0755), 0);
  std::string line = "source " + script + "; COMP_WORDS=(" + wrapper;
  for (const std::string& word : words) line += " '" + word + "'";
  line += "); COMP_CWORD=" + std::to_string(words.size()) + "; _ovictl " + wrapper +
          "; printf '%s\\n' \"${COMPREPLY[@]}\"";
  const absl::StatusOr<CapturedRun> run = RunAndCapture({"bash", "--norc", "-c", line});
  EXPECT_TRUE(run.ok() && run->stderr_tail.empty())
      << (run.ok() ? run->stderr_tail : run.status().ToString());
  return LinesOf(run->stdout_text);
}

TEST_F(CommonTest, CompletesWords) {
  v1::Job job;
  cluster.AddJob(job);
  cluster.AddJob(job);
  EXPECT_THAT(Complete(home, {"s"}), ElementsAre("submit", "status"));
  EXPECT_THAT(Complete(home, {"list", "--st"}), ElementsAre("--state"));
  EXPECT_THAT(Complete(home, {"list", "--state", "co"}),
              ElementsAre("configuring", "completing", "completed"));
  EXPECT_THAT(Complete(home, {"watch", "--js"}), ElementsAre("--json"));
  EXPECT_THAT(Complete(home, {"watch", ""}), ElementsAre("2", "1"));
  EXPECT_THAT(Complete(home, {"drain", "gpu-b"}), ElementsAre("gpu-b"));
  EXPECT_THAT(Complete(home, {"fetch", "1", "--kind", "p"}), ElementsAre("poster"));
  cluster.Stop();
  EXPECT_THAT(Complete(home, {"watch", ""}), ElementsAre("")) << "and no error message";
}

}  // namespace
}  // namespace ovi::client
