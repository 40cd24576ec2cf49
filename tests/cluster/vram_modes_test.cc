// Jobs in every vram_mode through a real cluster, on GPUs that hold less than standard takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/process_info.h"
#include "base/secret.h"
#include "tests/cluster/fake_agent.h"
#include "tests/cluster/test_cluster.h"
#include "tests/mount.h"

namespace ovi {
namespace {

// Of a rank alone: mini-ovi takes 17.5 MB in standard, 15.7 MB in ultra_low; one of two, 13.8 MB in all
// modes.
constexpr const char* kBetween = "16500000";

class VramModes : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartCoordinator();
    cluster_.StartAgent("box-1");
    cluster_.AwaitNodes(1);
  }
  // Every rank reported every stage, and none took more than was planned.
  static void ExpectWithinPlan(const v1::Job& job, int ranks) {
    std::set<std::pair<int, v1::Stage>> told;
    for (const v1::MemoryReport& memory : job.attempts(0).memory()) {
      told.emplace(memory.rank(), memory.stage());
      EXPECT_GT(memory.device_bytes_planned(), 0);
      EXPECT_LE(memory.device_bytes_peak(), memory.device_bytes_planned()) << memory.ShortDebugString();
    }
    EXPECT_EQ(told.size(), 3u * static_cast<unsigned>(ranks));
  }
  static v1::JobSpec InMode(v1::VramMode mode, int ranks) {
    v1::JobSpec spec = MiniJob(2);
    spec.set_vram_mode(mode);
    if (ranks == 1) return spec;
    spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
    spec.set_gpu_count(ranks);
    return spec;
  }

  TestCluster cluster_{{.gpu_bytes = kBetween, .gpus = 2}};
};

TEST_F(VramModes, AutoTakesTheOneThatFitsAndSaysSo) {
  const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(MiniJob(2)));
  ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  ASSERT_EQ(job.attempts_size(), 1);
  EXPECT_EQ(job.attempts(0).vram_mode(), v1::VRAM_MODE_ULTRA_LOW);
  EXPECT_EQ(job.spec().vram_mode(), v1::VRAM_MODE_UNSPECIFIED) << "as it was asked for";
  ExpectWithinPlan(job, 1);
  EXPECT_GT(job.attempts(0).memory(0).host_bytes_planned(), 0) << "the clip comes together on the host";

  const v1::Job two = cluster_.AwaitEnd(cluster_.Submit(InMode(v1::VRAM_MODE_AUTO, 2)));
  ASSERT_EQ(two.state(), v1::JOB_STATE_COMPLETED) << two.error();
  EXPECT_EQ(two.attempts(0).vram_mode(), v1::VRAM_MODE_STANDARD) << "two share the decoding";
}

TEST_F(VramModes, StreamedWeightsAreKeptInTheAgentsOwnFolder) {
  ASSERT_EQ(cluster_.AwaitEnd(cluster_.Submit(MiniJob(2))).state(), v1::JOB_STATE_COMPLETED);
  const pid_t warm = cluster_.PidOf("ovi-worker");
  ASSERT_GT(warm, 0);
  EXPECT_TRUE(HasEnvironment(warm, "OVI_CACHE_DIR=" + (cluster_.folder() / "box-1/cache")));
}

TEST_F(VramModes, StandardIsRefusedWhereItDoesNotFitWithWhatWould) {
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  *request.mutable_spec() = InMode(v1::VRAM_MODE_STANDARD, 1);
  v1::SubmitJobResponse response;
  const grpc::Status status = cluster_.jobs().SubmitJob(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(
      status.error_message(),
      "needs 1 GPU with 16.7 MiB; the largest there is: 15.7 MiB on box-1; multi_2 or ultra_low would fit");

  grpc::ClientContext plan_context;
  v1::PlanJobRequest plan;
  *plan.mutable_spec() = MiniJob();
  v1::PlanJobResponse options;
  ASSERT_TRUE(cluster_.jobs().PlanJob(&plan_context, plan, &options).ok());
  ASSERT_EQ(options.options_size(), 1);
  EXPECT_EQ(options.options(0).vram_mode(), v1::VRAM_MODE_ULTRA_LOW);
  EXPECT_TRUE(options.options(0).fits_now());
}

TEST_F(VramModes, AJobsOwnLimitIsKeptAndRefusedWithWhatWouldFit) {
  v1::JobSpec spec = InMode(v1::VRAM_MODE_AUTO, 2);
  spec.set_max_vram_bytes(14'000'000);
  const v1::Job limited = cluster_.AwaitEnd(cluster_.Submit(spec));
  ASSERT_EQ(limited.state(), v1::JOB_STATE_COMPLETED) << limited.error();
  ExpectWithinPlan(limited, 2);
  for (const v1::MemoryReport& memory : limited.attempts(0).memory()) {
    EXPECT_LE(memory.device_bytes_planned(), spec.max_vram_bytes());
  }

  spec.set_gpu_allocation(v1::GPU_ALLOCATION_SINGLE);
  spec.set_gpu_count(0);
  grpc::ClientContext context;
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  v1::SubmitJobResponse response;
  const grpc::Status status = cluster_.jobs().SubmitJob(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(),
              testing::MatchesRegex("needs 1 GPU with 14.9 MiB in ultra_low, more than its max_vram, 13.4 "
                                    "MiB; multi_2 or max_vram 156[0-9]+ .14.9 MiB. would fit"));

  grpc::ClientContext bad_context;
  request.mutable_spec()->set_max_vram_bytes(-1);
  const grpc::Status bad = cluster_.jobs().SubmitJob(&bad_context, request, &response);
  EXPECT_EQ(bad.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(bad.error_message(), testing::HasSubstr("spec.max_vram_bytes"));
}

TEST_F(VramModes, EachRunsOnTwoRanksWhenItIsAskedFor) {
  for (const v1::VramMode mode :
       {v1::VRAM_MODE_STANDARD, v1::VRAM_MODE_FP8, v1::VRAM_MODE_FP8_OFFLOAD, v1::VRAM_MODE_ULTRA_LOW}) {
    const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(InMode(mode, 2)));
    ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
    EXPECT_EQ(job.attempts_size(), 1);
    EXPECT_EQ(job.attempts(0).vram_mode(), mode);
    EXPECT_TRUE(job.warnings().empty()) << job.warnings(0);
    ExpectWithinPlan(job, 2);
  }
}

// Of a model larger than any that a test can run: 24 MiB alone in standard, of which weights that stream take
// 16; 6 in the low-rank form.
v1::NodeHello BoxWithALargeModel(int gpus) {
  constexpr std::int64_t kMiB = 1 << 20;
  v1::NodeHello hello = HelloOf("box-1");
  for (int i = 0; i < gpus; ++i) {
    v1::Gpu& gpu = *hello.add_gpus();
    gpu.set_index(i);
    gpu.set_bytes_total(20 * kMiB);
    gpu.set_declared(true);
  }
  v1::ModelInfo& model = *hello.add_models();
  model.set_name("large");
  for (const v1::VramMode mode : {v1::VRAM_MODE_STANDARD, v1::VRAM_MODE_FP8_OFFLOAD}) {
    const bool streams = mode != v1::VRAM_MODE_STANDARD;
    v1::MemoryNeed& need = *model.add_memory_needs();
    need.set_world_size(1);
    need.set_vram_mode(mode);
    need.set_as_executed_bytes((streams ? 8 : 24) * kMiB);
    need.set_as_executed_bytes_useful(24 * kMiB);
    need.set_low_rank_bytes((streams ? 4 : 6) * kMiB);
    need.set_low_rank_bytes_useful(6 * kMiB);
  }
  return hello;
}

TEST(Grants, FollowWhatAJobNeedsHasAUseForAndMayTake) {
  TestCluster cluster;
  cluster.StartCoordinator();
  const absl::StatusOr<std::string> token = ReadSecretFile(cluster.folder() / "coordinator/node_token");
  ASSERT_TRUE(token.ok()) << token.status();
  FakeAgent agent(cluster.address(), *token);
  ASSERT_TRUE(agent.Hello(BoxWithALargeModel(3)).ok());

  v1::JobSpec streams = MiniJob();
  streams.set_model_name("large");
  v1::JobSpec limited = streams;
  limited.set_max_vram_bytes(10 << 20);
  v1::JobSpec low_rank = streams;
  low_rank.set_enable_lora(true);
  const struct {
    const char* name;
    const v1::JobSpec& spec;
    std::int64_t mib;
  } rows[] = {{"all of the GPU, which is less than there is a use for", streams, 20},
              {"no more than the job may take", limited, 10},
              {"standard, which whole matrices would not fit in", low_rank, 6}};
  std::vector<std::int64_t> reserved;
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    cluster.Submit(row.spec);
    const std::optional<v1::NodeCommand> command = agent.Next();
    ASSERT_TRUE(command && command->has_start_group());
    EXPECT_EQ(command->start_group().bytes_per_rank(), row.mib << 20);
    reserved.push_back(row.mib << 20);
  }
  grpc::ClientContext context;
  v1::ListNodesResponse nodes;
  ASSERT_TRUE(cluster.cluster().ListNodes(&context, {}, &nodes).ok());
  ASSERT_EQ(nodes.nodes_size(), 1);
  EXPECT_THAT(nodes.nodes(0).gpu_bytes_reserved(), testing::ElementsAreArray(reserved));
}

// Two boxes of which the first, where jobs go first, cannot keep files.
class BoxWithoutACache : public testing::Test {
 protected:
  void Start(const std::string& cache_dir) {
    cluster_.StartCoordinator();
    cluster_.StartAgent("box-1", {"cache_dir=" + cache_dir});
    cluster_.StartAgent("box-2");
    cluster_.AwaitNodes(2);
  }
  static v1::JobSpec Compressed() {
    v1::JobSpec spec = MiniJob(2);
    spec.set_enable_lora(true);
    return spec;
  }

  // A job that finds no node ready fails when all had that long to come back.
  TestCluster cluster_{{.coordinator_sets = {"reconnect_ms_max=3000"}, .gpus = 1}};
};

TEST_F(BoxWithoutACache, AJobThatNeedsAFileThereIsMadeOnTheOther) {
  Start(cluster_.folder().Write("cache", "no folder"));
  const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(Compressed()));
  ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  ASSERT_EQ(job.attempts_size(), 2);
  EXPECT_EQ(job.attempts(0).node(), "box-1");
  EXPECT_EQ(job.attempts(0).end(), v1::ATTEMPT_END_NODE_NOT_READY);
  EXPECT_THAT(job.attempts(0).message(), testing::HasSubstr("cache: cannot make this folder"));
  EXPECT_EQ(job.attempts(1).vram_mode(), job.attempts(0).vram_mode());

  grpc::ClientContext context;
  v1::DrainNodeRequest drain;
  drain.set_name("box-2");
  v1::DrainNodeResponse drained;
  ASSERT_TRUE(cluster_.cluster().DrainNode(&context, drain, &drained).ok());
  const v1::Job alone = cluster_.AwaitEnd(cluster_.Submit(Compressed()));
  EXPECT_EQ(alone.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(alone.attempts_size(), 1) << "the file does not come by itself";
  EXPECT_THAT(alone.error(), testing::HasSubstr("NODE_NOT_READY on box-1"));
}

TEST_F(BoxWithoutACache, AFullDiskIsNoLackOfMemory) {
  const Mount disk(cluster_.folder() / "disk", 0, "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  Start(cluster_.folder() / "disk");
  const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(Compressed()));
  ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  ASSERT_EQ(job.attempts_size(), 2);
  EXPECT_EQ(job.attempts(0).end(), v1::ATTEMPT_END_NODE_NOT_READY);
  EXPECT_THAT(job.attempts(0).message(), testing::HasSubstr("bytes_free="));
}

}  // namespace
}  // namespace ovi
