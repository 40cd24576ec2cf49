// The agent and its coordinator: who is let in, what is reported, and when.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <utility>

#include "tests/agent/nodes_server.h"
#include "tests/agent/test_agent.h"

namespace ovi {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class AgentTest : public testing::Test {
 protected:
  NodesServer coordinator;
  TestAgent agent{coordinator.address(), 2};
};

TEST_F(AgentTest, SaysWhatItsNodeIs) {
  agent.Start();
  const auto hello = coordinator.AwaitHello();
  ASSERT_TRUE(hello);
  EXPECT_EQ(hello->protocol_version(), 1);
  EXPECT_EQ(hello->name(), "box");
  EXPECT_EQ(hello->agent_version(), OVI_VERSION);
  EXPECT_EQ(hello->instance_id().size(), 32u);
  ASSERT_EQ(hello->gpus_size(), 2);
  EXPECT_EQ(hello->gpus(1).index(), 1);
  EXPECT_EQ(hello->gpus(1).bytes_total(), 600'000'000);
  EXPECT_EQ(hello->gpus(1).bytes_foreign(), 0);
  EXPECT_TRUE(hello->gpus(1).declared());
  EXPECT_EQ(hello->gpus(1).health(), v1::GPU_HEALTH_OK);
  EXPECT_GT(hello->host().core_count(), 0);
  EXPECT_GT(hello->host().memory_bytes_available(), 0);
  EXPECT_GT(hello->host().disk_bytes_free(), 0);
  EXPECT_EQ(hello->host().boot_id().size(), 36u);
  ASSERT_EQ(hello->models_size(), 4) << "configs/models";
  EXPECT_EQ(hello->models(3).name(), "mini-ovi");
  EXPECT_EQ(hello->models(3).problem(), "");
  ASSERT_EQ(hello->models(3).memory_needs_size(), 3 * 4)
      << "two GPUs: alone, on both, on both with fsdp, each in four modes";
  std::set<v1::VramMode> modes;
  for (const v1::MemoryNeed& need : hello->models(3).memory_needs()) {
    EXPECT_GT(need.as_executed_bytes(), 1 << 20);
    const bool standard = need.vram_mode() == v1::VRAM_MODE_STANDARD;
    EXPECT_EQ(need.reference_bytes() >= need.as_executed_bytes(), standard);
    modes.insert(need.vram_mode());
  }
  EXPECT_THAT(modes, testing::ElementsAre(v1::VRAM_MODE_STANDARD, v1::VRAM_MODE_FP8,
                                          v1::VRAM_MODE_FP8_OFFLOAD, v1::VRAM_MODE_ULTRA_LOW));
  EXPECT_EQ(hello->models(3).memory_needs(0).world_size(), 1);
  EXPECT_EQ(hello->models(3).memory_needs(4).world_size(), 2);
  EXPECT_TRUE(hello->models(3).memory_needs(8).fsdp());
  EXPECT_THAT(hello->models(0).problem(), HasSubstr("missing")) << "its weights are not in the repository";
}

TEST_F(AgentTest, ReportsAsOftenAsTheCoordinatorWishes) {
  coordinator.SetReportInterval(100);
  agent.Start();
  for (int i = 0; i < 3; ++i) {
    const auto report = coordinator.AwaitReport([](const v1::NodeReport& r) { return r.gpus_size() == 2; });
    ASSERT_TRUE(report);
    EXPECT_GT(report->host().memory_bytes_total(), 0);
  }
}

TEST_F(AgentTest, ShowsItsTokenAndNeverLogsIt) {
  coordinator.WantToken("the-node-token");
  const std::string file = agent.folder().Write("token", "the-node-token\n");
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  agent.settings = {"node_token_file=" + file, "log.level=debug"};
  agent.Start();
  ASSERT_TRUE(coordinator.AwaitHello());
  agent.Signal(SIGTERM);
  EXPECT_TRUE(agent.Wait().ok());
  EXPECT_THAT(agent.log(), AllOf(HasSubstr("agent started"), Not(HasSubstr("the-node-token"))));
}

TEST_F(AgentTest, RefusesATokenFileThatOthersMayRead) {
  const std::string file = agent.folder().Write("token", "the-node-token\n");
  ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
  const auto run = RunAndCapture({OVI_AGENT, "--config", agent.folder() / "agent.yaml", "--coordinator",
                                  "127.0.0.1:1", "--node-token-file", file});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->exit.code, 1);
  EXPECT_THAT(run->stderr_tail, AllOf(HasSubstr(file), Not(HasSubstr("the-node-token"))));
}

TEST_F(AgentTest, EndsWithCode2WhenTheCoordinatorWillNeverHaveIt) {
  const std::pair<grpc::StatusCode, const char*> cases[] = {
      {grpc::StatusCode::UNAUTHENTICATED, "this is not the node token"},
      {grpc::StatusCode::FAILED_PRECONDITION, "protocol_version 1 is too old"},
      {grpc::StatusCode::INVALID_ARGUMENT, "name must be something else"}};
  for (const auto& [code, reason] : cases) {
    SCOPED_TRACE(reason);
    coordinator.RefuseWith({code, reason});
    agent.Start();
    const ExitStatus status = agent.Wait();
    EXPECT_EQ(status.code, 2) << status.ToString();
    EXPECT_THAT(agent.log(), HasSubstr(reason));
  }
}

TEST_F(AgentTest, TriesAgainWhenItsNameIsTakenForAMoment) {
  coordinator.RefuseWith({grpc::StatusCode::ALREADY_EXISTS, "another agent has that name"});
  agent.Start();
  ASSERT_TRUE(coordinator.AwaitHello());
  ASSERT_TRUE(coordinator.AwaitHello());
  coordinator.RefuseWith(grpc::Status::OK);
  ASSERT_TRUE(coordinator.AwaitHello());
  EXPECT_TRUE(coordinator.Stop("g9-9", 0));
  EXPECT_TRUE(coordinator.AwaitExited("g9-9")) << "it is connected";
}

TEST_F(AgentTest, PrintsWhatItWouldSayAndLeavesTheNodeAlone) {
  agent.Start();  // a running agent is not disturbed
  ASSERT_TRUE(coordinator.AwaitHello());
  const auto run = RunAndCapture({OVI_AGENT, "--config", agent.folder() / "agent.yaml", "--coordinator",
                                  coordinator.address(), "--print-hello"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->exit.ok()) << run->stderr_tail;
  EXPECT_THAT(run->stdout_text,
              AllOf(HasSubstr("\"name\": \"box\""), HasSubstr("\"bytes_total\": \"600000000\"")));
  EXPECT_EQ(run->stderr_tail, "");
  EXPECT_TRUE(coordinator.Stop("g9-9", 0));
  EXPECT_TRUE(coordinator.AwaitExited("g9-9"));
}

TEST_F(AgentTest, TellsPlainlyWhatIsWrongWithItsConfiguration) {
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {OVI_AGENT, "--config", agent.folder() / "agent.yaml"});
    const auto result = RunAndCapture(arguments);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : CapturedRun();
  };
  const CapturedRun missing = run({});
  EXPECT_EQ(missing.exit.code, 2);
  EXPECT_THAT(missing.stderr_tail, HasSubstr("coordinator is missing"));
  const CapturedRun misspelt = run({"--set", "cordinator=head:7000"});
  EXPECT_EQ(misspelt.exit.code, 2);
  EXPECT_THAT(misspelt.stderr_tail, HasSubstr("did you mean \"coordinator\"?"));
  const CapturedRun no_driver = run({"--coordinator", "127.0.0.1:1", "--set", "gpus=auto", "--set",
                                     "nvml_library=libnvidia-ml-of-nobody.so.1"});
  EXPECT_EQ(no_driver.exit.code, 1);
  EXPECT_THAT(no_driver.stderr_tail,
              HasSubstr("no NVIDIA driver (libnvidia-ml-of-nobody.so.1 not found): declare GPUs"));
}

}  // namespace
}  // namespace ovi
