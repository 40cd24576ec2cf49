// The life of groups, with a real agent and real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "base/small_file.h"
#include "tests/agent/nodes_server.h"
#include "tests/agent/test_agent.h"
#include "worker/agent/group_folder.h"
#include "worker/group/group_files.h"

namespace ovi {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class GroupsTest : public testing::Test {
 protected:
  // Connected, and its hello is taken.
  void Connect() {
    agent.Start();
    ASSERT_TRUE(coordinator.AwaitHello());
  }
  // Until all ranks are there.
  pid_t StartAndAwait(const std::string& id, int ranks, const std::string& behaviour) {
    EXPECT_TRUE(coordinator.Start(Order(id, ranks, behaviour)));
    const auto started = coordinator.AwaitStarted(id);
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_TRUE(
          agent.AwaitOutput(id, "rank " + std::to_string(rank) + " of " + std::to_string(ranks) + " ready"));
    }
    return started ? static_cast<pid_t>(started->pid()) : 0;
  }

  NodesServer coordinator;
  TestAgent agent{coordinator.address()};
};

TEST_F(GroupsTest, TellHowTheirRanksEnded) {
  Connect();
  struct Case {
    const char* name;
    int ranks;
    const char* behaviour;
    int exit_code, signal;
    const char* says = "";
  };
  // mpirun turns a rank's signal into 128 + signal; a single rank has no mpirun.
  for (const Case& c : {Case{"one-ok", 1, "exit 0", 0, 0}, Case{"one-oom", 1, "exit 3", 3, 0},
                        Case{"one-killed", 1, "die 9", -1, 9}, Case{"two-ok", 2, "exit 0", 0, 0},
                        Case{"two-oom", 2, "exit 3", 3, 0, " ended with exit code 3\n"},
                        Case{"two-killed", 2, "die 9", 137, 0, " died of signal 9 (Killed)\n"}}) {
    SCOPED_TRACE(c.name);
    ASSERT_TRUE(coordinator.Start(Order(c.name, c.ranks, c.behaviour)));
    const auto exited = coordinator.AwaitExited(c.name);
    ASSERT_TRUE(exited);
    EXPECT_TRUE(exited->launched());
    EXPECT_EQ(exited->exit_code(), c.exit_code);
    EXPECT_EQ(exited->signal(), c.signal);
    EXPECT_THAT(exited->output_tail(), HasSubstr(c.says));
    EXPECT_THAT(agent.Processes(c.name), IsEmpty());
  }
}

TEST_F(GroupsTest, AreRefusedWithTheReasonWhenTheyCannotStart) {
  Connect();
  v1::StartGroup no_gpu = Order("no-gpu", 2, "wait");
  no_gpu.set_gpu_indices(1, 4);
  v1::StartGroup no_model = Order("no-model", 1, "wait");
  no_model.set_model_name("maxi-ovi");
  v1::StartGroup escape = Order("../escape", 1, "wait");
  v1::StartGroup no_token = Order("no-token", 1, "wait");
  no_token.set_token("");
  const std::pair<v1::StartGroup, const char*> cases[] = {{no_gpu, "this node has 4 GPUs, got index 4"},
                                                          {no_model, "maxi-ovi/model_spec.json"},
                                                          {escape, "group_id must be"},
                                                          {no_token, "no-token/token: "}};
  for (const auto& [order, reason] : cases) {
    SCOPED_TRACE(order.group_id());
    ASSERT_TRUE(coordinator.Start(order));
    const auto exited = coordinator.AwaitExited(order.group_id());
    ASSERT_TRUE(exited);
    EXPECT_FALSE(exited->launched());
    EXPECT_EQ(exited->exit_code(), -1);
    EXPECT_THAT(exited->output_tail(), HasSubstr(reason));
  }
  EXPECT_FALSE(std::filesystem::exists(agent.folder() / "state/escape"));
}

TEST_F(GroupsTest, AreToldHowFastTheirGpusAreWhereThatDiffers) {
  agent.settings = {"gpus=[{vram: 1GiB, share: 2}, {vram: 1GiB}, {vram: 1GiB}]"};
  Connect();
  v1::StartGroup unequal = Order("unequal", 2, "wait"), alike = Order("alike", 2, "wait");
  alike.set_gpu_indices(0, 1);
  alike.set_gpu_indices(1, 2);
  for (const auto& [order, shares] : {std::pair(unequal, std::vector<int>{2, 1}), {alike, {}}}) {
    ASSERT_TRUE(coordinator.Start(order));
    ASSERT_TRUE(coordinator.AwaitStarted(order.group_id()));
    const auto facts = ReadGroupFacts(agent.group_dir(order.group_id()));
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->rank_shares, shares) << order.group_id();
  }
}

TEST_F(GroupsTest, AreNotStartedWithoutTheirProgram) {
  agent.settings = {"groups.worker=/nowhere/ovi-worker"};
  Connect();
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 1, "wait")));
  const auto exited = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(exited);
  EXPECT_FALSE(exited->launched());
  EXPECT_THAT(exited->output_tail(), HasSubstr("/nowhere/ovi-worker: no such program"));
}

TEST_F(GroupsTest, AnswerARepeatedOrderWithoutStartingTwice) {
  Connect();
  const pid_t pid = StartAndAwait("g1-1", 2, "wait");
  const std::size_t processes = agent.Processes("g1-1").size();
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 2, "wait")));
  const auto again = coordinator.AwaitStarted("g1-1");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->pid(), pid);
  EXPECT_EQ(agent.Processes("g1-1").size(), processes);
}

TEST_F(GroupsTest, LeaveNothingBehindWhenMpirunIsKilled) {
  Connect();
  const pid_t mpirun = StartAndAwait("g1-1", 2, "family");
  ASSERT_EQ(::kill(mpirun, SIGKILL), 0);
  const auto exited = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(exited);
  EXPECT_EQ(exited->signal(), SIGKILL);
  EXPECT_THAT(agent.Processes("g1-1"), IsEmpty());
}

TEST_F(GroupsTest, LeaveNothingBehindWhenTheirKeeperIsKilled) {
  Connect();
  StartAndAwait("g1-1", 2, "wait");
  const auto record = GroupFolder(agent.group_dir("g1-1")).ReadProcess();
  ASSERT_TRUE(record.ok()) << record.status();
  ASSERT_EQ(::kill(record->keeper_pid, SIGKILL), 0);
  const auto exited = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(exited);
  EXPECT_TRUE(exited->launched());
  EXPECT_EQ(exited->exit_code(), -1);
  EXPECT_THAT(exited->output_tail(), HasSubstr("its keeper was killed"));
  EXPECT_THAT(agent.Processes("g1-1"), IsEmpty());
}

// The value of a variable of a running process.
std::string VariableOf(pid_t pid, const std::string& name) {
  const std::string text =
      '\0' + ReadSmallFile("/proc/" + std::to_string(pid) + "/environ", 1 << 20).value_or("");
  const std::size_t begin = text.find('\0' + name + '=');
  return begin == std::string::npos ? "" : text.c_str() + begin + name.size() + 2;
}

TEST_F(GroupsTest, LeaveNoSharedMemoryBehindWhenKilled) {
  Connect();
  for (const int ranks : {1, 2}) {
    const std::string id = "ranks-" + std::to_string(ranks);
    const pid_t leader = StartAndAwait(id, ranks, "mpi");
    const std::string scratch = VariableOf(leader, "OMPI_MCA_orte_tmpdir_base");
    ASSERT_EQ(VariableOf(leader, "OMPI_MCA_btl_vader_backing_directory"), scratch);
    int segments = 0, sessions = 0;
    for (const auto& entry : std::filesystem::directory_iterator(scratch)) {
      const std::string name = entry.path().filename();
      segments += name.starts_with("vader_segment.") ? 1 : 0;
      sessions += name.starts_with("ompi.") ? 1 : 0;
    }
    EXPECT_EQ(segments, ranks == 1 ? 0 : ranks) << "a single rank has nobody to share memory with";
    EXPECT_EQ(sessions, 1);
    ASSERT_EQ(::kill(leader, SIGKILL), 0);
    EXPECT_TRUE(coordinator.AwaitExited(id));
    EXPECT_FALSE(std::filesystem::exists(scratch));
  }
}

TEST_F(GroupsTest, LetPoliteRanksSaveTheirWorkWhenStopped) {
  Connect();
  for (const int ranks : {1, 2}) {
    const std::string id = "ranks-" + std::to_string(ranks);
    StartAndAwait(id, ranks, "polite");
    ASSERT_TRUE(coordinator.Stop(id, 30'000));
    const auto exited = coordinator.AwaitExited(id);
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->exit_code(), 0);
    EXPECT_THAT(exited->output_tail(), HasSubstr("saved"));
  }
}

TEST_F(GroupsTest, AreKilledWhenTheyIgnoreBeingStopped) {
  Connect();
  for (const char* behaviour : {"stubborn", "family"}) {
    for (const int ranks : {1, 2}) {
      SCOPED_TRACE(std::string(behaviour) + " " + std::to_string(ranks));
      const std::string id = behaviour + std::to_string(ranks);
      StartAndAwait(id, ranks, behaviour);
      ASSERT_TRUE(coordinator.Stop(id, 50));
      ASSERT_TRUE(coordinator.AwaitExited(id));
      EXPECT_THAT(agent.Processes(id), IsEmpty());
    }
  }
}

TEST_F(GroupsTest, AreKilledAtOnceByASecondStopWithLessPatience) {
  Connect();
  StartAndAwait("g1-1", 2, "stubborn");
  ASSERT_TRUE(coordinator.Stop("g1-1", 3'600'000));
  ASSERT_TRUE(coordinator.Stop("g1-1", 0));
  EXPECT_TRUE(coordinator.AwaitExited("g1-1"));
}

TEST_F(GroupsTest, StoppingAnUnknownOneIsAnsweredWithItsExit) {
  Connect();
  ASSERT_TRUE(coordinator.Stop("g9-9", 100));
  const auto unknown = coordinator.AwaitExited("g9-9");
  ASSERT_TRUE(unknown);
  EXPECT_FALSE(unknown->launched());
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 1, "exit 3")));
  ASSERT_TRUE(coordinator.AwaitExited("g1-1"));
  ASSERT_TRUE(coordinator.Stop("g1-1", 100));
  const auto ended = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->exit_code(), 3);
}

TEST_F(GroupsTest, GetTheirTokenInAFileAndNeverInSight) {
  Connect();
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 2, "environment")));
  const auto exited = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(exited);
  const auto output = ReadSmallFile(agent.group_dir("g1-1") + "/output.log", 1 << 20);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_THAT(*output, AllOf(HasSubstr("token mode 600"), Not(HasSubstr("secret-of-g1-1"))));
  EXPECT_THAT(*output, AllOf(HasSubstr("CUDA_VISIBLE_DEVICES=\n"), HasSubstr("OMP_WAIT_POLICY=passive\n")));
  EXPECT_FALSE(std::filesystem::exists(agent.group_dir("g1-1") + "/token"))
      << "of no use once the group has ended";
  agent.Signal(SIGTERM);
  agent.Wait();
  EXPECT_THAT(agent.log(), AllOf(HasSubstr("group started"), Not(HasSubstr("secret-of-g1-1"))));
}

TEST_F(GroupsTest, ShowTheEndOfWhatTheyPrinted) {
  Connect();
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 1, "print 1000")));
  const auto exited = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(exited);
  EXPECT_LE(exited->output_tail().size(), 8u << 10);
  EXPECT_THAT(exited->output_tail(), testing::EndsWith("00000999\n"));
  const auto log = coordinator.FetchLog("g1-1", 250);
  ASSERT_TRUE(log);
  EXPECT_TRUE(log->found());
  EXPECT_EQ(log->text().size(), 200u);  // two whole lines
  const auto unknown = coordinator.FetchLog("g9-9");
  ASSERT_TRUE(unknown);
  EXPECT_FALSE(unknown->found());
  const auto outside = coordinator.FetchLog("../..");
  ASSERT_TRUE(outside);
  EXPECT_FALSE(outside->found());
}

TEST_F(GroupsTest, MayHaveTheIdOfOneThatHasEnded) {
  Connect();
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 1, "exit 3")));
  ASSERT_TRUE(coordinator.AwaitExited("g1-1"));
  ASSERT_TRUE(coordinator.Start(Order("g1-1", 1, "exit 0")));
  const auto again = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->exit_code(), 0);
}

}  // namespace
}  // namespace ovi
