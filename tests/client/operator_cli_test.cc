// ovictl nodes, drain, resume, doctor; and what all commands have in common.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

v1::Node ReadyNode(const std::string& name) {
  v1::Node node;
  node.set_name(name);
  node.set_state(v1::NODE_STATE_READY);
  v1::Gpu* gpu = node.add_gpus();
  gpu->set_name("RTX 3090");
  gpu->set_bytes_total(std::int64_t{24} << 30);
  gpu->set_health(v1::GPU_HEALTH_OK);
  node.add_gpu_bytes_reserved(std::int64_t{4} << 30);
  return node;
}

struct OperatorTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  OperatorTest() { cluster.SetNodes({ReadyNode("gpu-a"), ReadyNode("gpu-b")}); }

  // A program of this name, first in PATH, that runs `script`.
  void Install(const std::string& name, const std::string& script) {
    std::filesystem::create_directories(home.folder() / "bin");
    const std::string path = home.folder().Write("bin/" + name, "#!/bin/sh\n" + script);
    ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
    home.Set("PATH", (home.folder() / "bin") + ":/usr/bin:/bin");
  }
  // A machine on which all programs are well.
  void InstallGoodPrograms() {
    Install("mpirun", "[ \"$1\" = --version ] && echo 'mpirun (Open MPI) 4.1.4'; exit 0\n");
    Install("ffmpeg", "echo ' V....D libx264 x'; echo ' A....D aac x'\n");
  }
};

TEST_F(OperatorTest, ListsNodes) {
  EXPECT_EQ(home.Run({"nodes"}).out,
            "NODE   STATE  GPU  NAME         TOTAL      FREE  RESERVED\n"
            "gpu-a  READY    0  RTX 3090  24.0 GiB  20.0 GiB   4.0 GiB\n"
            "gpu-b  READY    0  RTX 3090  24.0 GiB  20.0 GiB   4.0 GiB\n");
  EXPECT_EQ(home.Run({"nodes", "-q"}).out, "gpu-a\ngpu-b\n");
  const OvictlRun json = home.Run({"nodes", "--json"});
  ASSERT_THAT(LinesOf(json.out), SizeIs(2));
  EXPECT_EQ(nlohmann::json::parse(LinesOf(json.out)[1])["name"], "gpu-b");
  EXPECT_THAT(home.Run({"nodes", "gpu-b"}).out, AllOf(HasSubstr("gpu-b  READY"), Not(HasSubstr("gpu-a"))));
  EXPECT_EQ(nlohmann::json::parse(home.Run({"nodes", "gpu-b", "--json"}).out)["state"], "NODE_STATE_READY");
  const OvictlRun unknown = home.Run({"nodes", "gpu-c"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_EQ(unknown.err, "ovictl: no node gpu-c\n");
}

TEST_F(OperatorTest, DrainsAndResumes) {
  EXPECT_EQ(home.Run({"drain", "gpu-a", "--reason", "new fan"}).out, "gpu-a DRAINED\n");
  EXPECT_THAT(home.Run({"nodes", "gpu-a"}).out, HasSubstr("drained     new fan\n"));
  EXPECT_EQ(home.Run({"resume", "gpu-a"}).out, "gpu-a READY\n");
  EXPECT_EQ(home.Run({"drain", "gpu-c", "--reason", "x"}).exit_code, 1);
  EXPECT_EQ(home.Run({"resume", "gpu-c"}).exit_code, 1);
}

TEST_F(OperatorTest, DoctorFindsAllWell) {
  InstallGoodPrograms();
  const OvictlRun run = home.Run({"doctor", "--out", home.folder().path(), "--state", home.folder().path()});
  EXPECT_THAT(run.out,
              AllOf(HasSubstr("OK    mpirun       Open MPI 4.1.4 starts two ranks in "),
                    HasSubstr("\nOK    ffmpeg       writes H.264 and AAC\n"), HasSubstr("  gpus         "),
                    HasSubstr("/configs/models: mini-ovi; no weights: "), HasSubstr("  memory       "),
                    HasSubstr("  state disk   "), HasSubstr("  output disk  ")));
  EXPECT_THAT(run.out, AllOf(HasSubstr("\nOK    coordinator  " + cluster.address() + " serves\n"),
                             HasSubstr("\nOK    clock        within "),
                             HasSubstr("\nOK    nodes        2 of 2 ready, 2 healthy GPUs\n")));
}

TEST_F(OperatorTest, DoctorFindsWhatIsMissing) {
  InstallGoodPrograms();
  const struct {
    const char* name;
    std::function<void()> change;
    const char* line;
    bool fails = true;
  } rows[] = {
      {"mpirun that starts nothing",
       [&] {
         Install(
             "mpirun",
             "[ $1 = --version ] && echo 'mpirun (Open MPI) 4.1.4' && exit 0; echo no slots >&2; exit 1\n");
       },
       "FAIL  mpirun       Open MPI 4.1.4: cannot start ranks: exit code 1: no slots\n"},
      {"another MPI", [&] { Install("mpirun", "echo HYDRA\n"); }, "FAIL  mpirun       is not Open MPI's\n"},
      {"a future MPI", [&] { Install("mpirun", "echo 'mpirun (Open MPI) 5.0.1'\n"); },
       "WARN  mpirun       Open MPI 5.0.1 starts two ranks", false},
      {"ffmpeg without H.264", [&] { Install("ffmpeg", "echo ' A....D aac x'\n"); },
       "FAIL  ffmpeg       has no encoder libx264\n"},
      {"no models", [&] { home.Set("OVI_MODELS_DIR", home.folder() / "bin"); }, "bin: no model\n"},
      {"no output folder", [&] { home.Set("OVI_OUT", "/nowhere/out"); },
       "FAIL  output disk  /nowhere/out/ovictl-probe"},
      {"clocks apart", [&] { cluster.SetClockOffset(90'000); },
       "WARN  clock        the coordinator's is 90.0 s ahead\n", false},
      {"a lost node",
       [&] {
         v1::Node lost = ReadyNode("gpu-b");
         lost.set_state(v1::NODE_STATE_LOST);
         cluster.SetNodes({ReadyNode("gpu-a"), lost});
       },
       "WARN  nodes        1 of 2 ready, 1 healthy GPUs, gpu-b LOST\n", false},
      {"no nodes", [&] { cluster.SetNodes({}); }, "FAIL  nodes        0 of 0 ready, 0 healthy GPUs\n"},
      {"no coordinator", [&] { cluster.Stop(); }, "FAIL  coordinator  nothing answers on 127.0.0.1:"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string before = home.Run({"doctor"}).out;
    EXPECT_THAT(before, Not(HasSubstr(row.line)));
    row.change();
    const OvictlRun run = home.Run({"doctor"});
    EXPECT_THAT(run.out, HasSubstr(row.line));
    EXPECT_TRUE(run.exit_code == 1 || !row.fails) << run.exit_code;
  }
  EXPECT_THAT(home.Run({"doctor"}).out, Not(HasSubstr("clock")))
      << "nothing more is asked of one that is not there";
}

TEST_F(OperatorTest, EndsAtOnceAtTheSecondSignal) {
  // An mpirun that tells the test that it runs, and goes on for as long as ovictl does.
  const std::string fifo = home.folder() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  InstallGoodPrograms();
  Install("mpirun", "[ \"$1\" = --version ] && echo 'mpirun (Open MPI) 4.1.4' && exit 0\necho > " + fifo +
                        "\nwhile kill -0 $PPID 2>/dev/null; do sleep 0.05; done\n");
  const auto doctor = home.Start({"doctor"});
  std::ifstream(fifo).get();
  doctor->Kill(SIGINT);
  doctor->Kill(SIGTERM);  // another one: two of the same might arrive as one
  EXPECT_EQ(doctor->Wait().code, 130);
}

TEST_F(OperatorTest, DoctorOfAClientLooksAtTheConnectionOnly) {
  const OvictlRun run = home.Run({"doctor", "--client", "--out", home.folder().path(), "--json"});
  std::vector<std::string> checks;
  for (const std::string& line : LinesOf(run.out)) {
    const nlohmann::json json = nlohmann::json::parse(line);
    checks.push_back(json["check"]);
    if (checks.size() > 1) {  // how full the disk is is not the test's business
      EXPECT_EQ(json["result"], "OK") << line;
    }
  }
  EXPECT_THAT(checks, ElementsAre("output disk", "coordinator", "clock", "nodes"));
}

TEST_F(OperatorTest, DoctorTellsAStrangerFromACoordinator) {
  // A listener that never says a word of HTTP/2.
  auto stranger =
      Subprocess::Start({"python3", "-c",
                         "import socket,sys\ns=socket.socket()\ns.bind(('127.0.0.1',0))\ns.listen(9)\n"
                         "print(s.getsockname()[1],flush=True)\n"
                         "while True:\n c,_=s.accept()\n c.close()\n"},
                        {.stdout_stream = StandardStream::kPipe});
  if (!stranger.ok()) GTEST_SKIP() << stranger.status();
  std::string port = ReadUntil((*stranger)->stdout_fd(), "\n");
  port.pop_back();
  const OvictlRun run = home.Run({"doctor", "--client", "--coordinator", "127.0.0.1:" + port});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.out,
              HasSubstr("FAIL  coordinator  something else than a coordinator listens on 127.0.0.1:" + port));
}

TEST_F(OperatorTest, EveryCommandSaysThatNobodyAnswers) {
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

TEST_F(OperatorTest, GivesUpOnACoordinatorThatHangs) {
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

TEST_F(OperatorTest, EveryCommandRefusesWrongUsage) {
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

TEST_F(OperatorTest, ReadsItsConfigurationFile) {
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

TEST_F(OperatorTest, ExplainsItself) {
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

TEST_F(OperatorTest, FailsWhenItsOutputIsLost) {
  std::string command;
  for (const std::string& word : home.Argv({"nodes"})) command += "'" + word + "' ";
  const absl::StatusOr<CapturedRun> run = RunAndCapture({"sh", "-c", command + "> /dev/full"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->exit.code, 1);
  EXPECT_EQ(run->stderr_tail, "ovictl: cannot write to stdout\n");
}

TEST_F(OperatorTest, CompletionCanBeInstalled) {
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

TEST_F(OperatorTest, CompletesWords) {
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
