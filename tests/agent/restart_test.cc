// What survives the agent: killed, told to end, started again, started twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <utility>

#include "tests/agent/nodes_server.h"
#include "tests/agent/test_agent.h"
#include "worker/agent/group_folder.h"

namespace ovi {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class RestartTest : public testing::Test {
 protected:
  v1::NodeHello Connect() {
    agent.Start();
    return coordinator.AwaitHello().value_or(v1::NodeHello());
  }
  void StartAndAwait(const std::string& id, int ranks, const std::string& behaviour) {
    ASSERT_TRUE(coordinator.Start(Order(id, ranks, behaviour)));
    ASSERT_TRUE(coordinator.AwaitStarted(id));
    for (int rank = 0; rank < ranks; ++rank)
      ASSERT_TRUE(agent.AwaitOutput(id, "rank " + std::to_string(rank) + " of"));
  }

  NodesServer coordinator;
  TestAgent agent{coordinator.address()};
};

TEST_F(RestartTest, FindsItsGroupsAgainAfterBeingKilled) {
  const v1::NodeHello first = Connect();
  EXPECT_THAT(first.groups(), IsEmpty());
  StartAndAwait("g1-1", 2, "wait");
  StartAndAwait("g2-1", 1, "wait");
  const std::vector<pid_t> before = agent.Processes("g1-1");
  agent.Kill();

  const v1::NodeHello second = Connect();
  EXPECT_NE(second.instance_id(), first.instance_id());
  ASSERT_EQ(second.groups_size(), 2);
  EXPECT_EQ(second.groups(0).group_id(), "g1-1");
  EXPECT_THAT(second.groups(0).gpu_indices(), testing::ElementsAre(0, 1));
  EXPECT_EQ(second.groups(0).bytes_per_rank(), 100 << 20);
  EXPECT_EQ(second.groups(0).model_name(), "mini-ovi");
  EXPECT_EQ(second.groups(1).group_id(), "g2-1");
  EXPECT_EQ(agent.Processes("g1-1"), before);

  // They are as much its own as before.
  ASSERT_TRUE(coordinator.Stop("g1-1", 30'000));
  const auto stopped = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->exit_code(), 143) << "mpirun's word for a rank that SIGTERM ended";
  const auto record = GroupFolder(agent.group_dir("g2-1")).ReadProcess();
  ASSERT_TRUE(record.ok()) << record.status();
  ASSERT_EQ(::kill(record->leader_pid, SIGKILL), 0);
  const auto killed = coordinator.AwaitExited("g2-1");
  ASSERT_TRUE(killed);
  EXPECT_EQ(killed->signal(), SIGKILL) << "the exit of a group that is no child of this agent";
}

TEST_F(RestartTest, TellsOnceWhatEndedWhileNoAgentRan) {
  Connect();
  StartAndAwait("g1-1", 2, "polite");
  StartAndAwait("g2-1", 1, "wait");
  agent.Kill();
  const auto first = GroupFolder(agent.group_dir("g1-1")).ReadProcess();
  const auto second = GroupFolder(agent.group_dir("g2-1")).ReadProcess();
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_EQ(::kill(first->leader_pid, SIGKILL), 0);
  ASSERT_EQ(::kill(second->keeper_pid, SIGKILL), 0);
  EXPECT_TRUE(agent.AwaitNoProcess("g1-1"));

  EXPECT_THAT(Connect().groups(), IsEmpty());
  const auto killed = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(killed);
  EXPECT_EQ(killed->signal(), SIGKILL);
  const auto unseen = coordinator.AwaitExited("g2-1");
  ASSERT_TRUE(unseen);
  EXPECT_TRUE(unseen->launched());
  EXPECT_EQ(unseen->exit_code(), -1);
  EXPECT_TRUE(agent.AwaitNoProcess("g2-1"));

  // The third agent has nothing to tell but what happens now.
  agent.Kill();
  Connect();
  ASSERT_TRUE(coordinator.Start(Order("g3-1", 1, "exit 0")));
  const auto message = coordinator.Await([](const v1::NodeMessage& m) { return m.has_group_exited(); });
  ASSERT_TRUE(message);
  EXPECT_EQ(message->group_exited().group_id(), "g3-1");
}

TEST_F(RestartTest, EndsGroupsWhoseKeeperWasKilledWhileNoAgentRan) {
  Connect();
  StartAndAwait("g1-1", 2, "stubborn");
  agent.Kill();
  const auto record = GroupFolder(agent.group_dir("g1-1")).ReadProcess();
  ASSERT_TRUE(record.ok());
  ASSERT_EQ(::kill(record->keeper_pid, SIGKILL), 0);
  Connect();
  ASSERT_TRUE(coordinator.AwaitExited("g1-1"));
  EXPECT_THAT(agent.Processes("g1-1"), IsEmpty());
}

TEST_F(RestartTest, EndsItsGroupsWhenToldToEnd) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Connect();
    StartAndAwait("polite", 2, "polite");
    StartAndAwait("stubborn", 1, "stubborn");
    agent.Signal(signal);
    EXPECT_TRUE(agent.Wait().ok());
    EXPECT_THAT(agent.Processes("polite"), IsEmpty());
    EXPECT_THAT(agent.Processes("stubborn"), IsEmpty());
    const auto polite = coordinator.AwaitExited("polite");
    ASSERT_TRUE(polite) << "told before it ended";
    EXPECT_EQ(polite->exit_code(), 0);
    ASSERT_TRUE(coordinator.AwaitExited("stubborn"));
  }
}

TEST_F(RestartTest, LeavesItsGroupsWhenAskedTo) {
  agent.settings = {"groups.keep=true"};
  Connect();
  StartAndAwait("g1-1", 2, "wait");
  agent.Signal(SIGTERM);
  EXPECT_TRUE(agent.Wait().ok());
  EXPECT_THAT(agent.Processes("g1-1"), Not(IsEmpty()));
  EXPECT_EQ(Connect().groups_size(), 1);
}

TEST_F(RestartTest, DoesNotWaitForStubbornGroupsWhenToldTwice) {
  Connect();
  StartAndAwait("g1-1", 1, "stubborn");
  agent.Signal(SIGTERM);
  agent.Signal(SIGTERM);
  EXPECT_TRUE(agent.Wait().ok());
  EXPECT_THAT(agent.Processes("g1-1"), IsEmpty());
}

TEST_F(RestartTest, LetsGroupsGoOnWhileTheCoordinatorIsAway) {
  Connect();
  StartAndAwait("g1-1", 2, "wait");
  StartAndAwait("g2-1", 1, "wait");
  coordinator.GoDown();
  const auto record = GroupFolder(agent.group_dir("g2-1")).ReadProcess();
  ASSERT_TRUE(record.ok());
  ASSERT_EQ(::kill(record->leader_pid, SIGKILL), 0);
  EXPECT_TRUE(agent.AwaitNoProcess("g2-1"));
  coordinator.ComeBack();
  const auto hello = coordinator.AwaitHello();
  ASSERT_TRUE(hello);
  ASSERT_EQ(hello->groups_size(), 1);
  EXPECT_EQ(hello->groups(0).group_id(), "g1-1");
  const auto exited = coordinator.AwaitExited("g2-1");
  ASSERT_TRUE(exited) << "what happened meanwhile is told";
  EXPECT_EQ(exited->signal(), SIGKILL);
}

TEST_F(RestartTest, RefusesAStateFolderThatAnotherAgentUses) {
  Connect();
  const auto second = RunAndCapture({OVI_AGENT, "--config", agent.folder() / "agent.yaml", "--coordinator",
                                     coordinator.address(), "--name", "other"});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->exit.code, 1);
  EXPECT_THAT(second->stderr_tail, HasSubstr("another agent uses it, pid " + std::to_string(agent.pid())));
}

TEST_F(RestartTest, CleansUpAfterAStartThatNeverCameToBe) {
  // As an agent leaves it that is killed between making the folder and starting the keeper.
  std::filesystem::create_directories(agent.group_dir("g1-1"));
  agent.Start();
  ASSERT_TRUE(coordinator.AwaitHello());
  const auto exited = coordinator.AwaitExited("g1-1");
  ASSERT_TRUE(exited);
  EXPECT_FALSE(exited->launched());
}

}  // namespace
}  // namespace ovi
