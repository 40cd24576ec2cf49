// ovictl doctor: what it finds, on machines that are well and on those that are not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/client/fake_cluster.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

v1::Node NodeNamed(const std::string& name) {
  v1::Node node;
  node.set_name(name);
  node.set_state(v1::NODE_STATE_READY);
  node.add_gpus()->set_health(v1::GPU_HEALTH_OK);
  return node;
}

struct DoctorTest : testing::Test {
  FakeCluster cluster;
  OvictlHome home{cluster.address()};

  DoctorTest() { cluster.SetNodes({NodeNamed("gpu-a"), NodeNamed("gpu-b")}); }

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

TEST_F(DoctorTest, FindsAllWell) {
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

TEST_F(DoctorTest, FindsWhatIsMissing) {
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
         v1::Node lost = NodeNamed("gpu-b");
         lost.set_state(v1::NODE_STATE_LOST);
         cluster.SetNodes({NodeNamed("gpu-a"), lost});
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

TEST_F(DoctorTest, EndsAtOnceAtTheSecondSignal) {
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

TEST_F(DoctorTest, OfAClientLooksAtTheConnectionOnly) {
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

TEST_F(DoctorTest, TellsAStrangerFromACoordinator) {
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

}  // namespace
}  // namespace ovi::client
