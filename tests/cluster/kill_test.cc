// kill -9, one process at a time and while a job runs: the job ends COMPLETED with one right result, and
// nothing is left behind.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/cluster/processes.h"
#include "tests/cluster/test_cluster.h"

namespace ovi {
namespace {

// Seconds of work.
#ifdef __SANITIZE_ADDRESS__
constexpr int kSteps = 20;
#else
constexpr int kSteps = 120;
#endif

class Kill : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartCoordinator();
    cluster_.StartAgent("box-1");
    cluster_.StartAgent("box-2");
    cluster_.AwaitNodes(2);
    v1::JobSpec spec = MiniJob(kSteps);
    spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
    spec.set_gpu_count(2);
    expected_ = ResultOf(cluster_.AwaitEnd(cluster_.Submit(spec)));
    id_ = cluster_.Submit(spec);
    const v1::Job job =
        cluster_.WatchUntil(id_, [](const v1::Job& seen) { return seen.progress().step() >= 3; });
    ASSERT_EQ(job.attempts_size(), 1);
    node_ = job.attempts(0).node();
  }

  // Hashes of all files but the video, whose container may carry other metadata: of one job they are one
  // result.
  static std::set<std::string> ResultOf(const v1::Job& job) {
    EXPECT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.ShortDebugString();
    std::set<std::string> hashes;
    for (const v1::Artifact& artifact : job.artifacts()) {
      if (artifact.kind() != v1::ARTIFACT_KIND_VIDEO) hashes.insert(artifact.sha256());
    }
    return hashes;
  }

  // Ends the job as a user sees it: completed, the same pictures, every file there, each once.
  v1::Job ExpectRightEnd() {
    v1::Job job = cluster_.AwaitEnd(id_);
    EXPECT_EQ(ResultOf(job), expected_);
    EXPECT_EQ(job.artifacts_size(), 3);
    for (const v1::Artifact& artifact : job.artifacts()) {
      const absl::StatusOr<std::string> bytes = cluster_.Fetch(id_, artifact.file_name());
      EXPECT_TRUE(bytes.ok()) << bytes.status();
    }
    int completed = 0;
    for (const v1::Attempt& attempt : job.attempts()) completed += attempt.end() == v1::ATTEMPT_END_COMPLETED;
    EXPECT_EQ(completed, 1);
    return job;
  }

  TestCluster cluster_;
  std::set<std::string> expected_;
  std::string id_;
  std::string node_;
};

TEST_F(Kill, ARankEndsTheAttemptAndTheJobGoesOnElsewhere) {
  ASSERT_EQ(::kill(cluster_.PidOf("ovi-worker"), SIGKILL), 0);
  const v1::Job job = ExpectRightEnd();
  ASSERT_EQ(job.attempts_size(), 2);
  EXPECT_EQ(job.attempts(0).end(), v1::ATTEMPT_END_WORKER_CRASH) << job.attempts(0).message();
  EXPECT_NE(job.attempts(1).node(), node_);
}

TEST_F(Kill, MpirunEndsTheAttemptAndTheJobGoesOnElsewhere) {
  ASSERT_EQ(::kill(cluster_.PidOf("mpirun"), SIGKILL), 0);
  const v1::Job job = ExpectRightEnd();
  ASSERT_EQ(job.attempts_size(), 2);
  EXPECT_NE(job.attempts(1).node(), node_);
}

TEST_F(Kill, AnAgentDoesNotHurtItsGroup) {
  cluster_.KillAgent(node_);
  const v1::Job job = ExpectRightEnd();
  EXPECT_EQ(job.attempts_size(), 1) << "the group went on without its agent";
  // Nobody is left on that node to look after the group, so it must end by itself.
  EXPECT_TRUE(cluster_.AwaitNoGroupProcesses(60)) << absl::StrCat("left: ", cluster_.GroupProcesses().size());
}

TEST_F(Kill, ARestartedAgentFindsItsGroupAgain) {
  cluster_.KillAgent(node_);
  cluster_.StartAgent(node_);
  const v1::Job job = ExpectRightEnd();
  EXPECT_EQ(job.attempts_size(), 1);
  cluster_.AwaitNodes(2);
}

TEST_F(Kill, ARestartedCoordinatorGoesOnWhereItWas) {
  cluster_.KillCoordinator();
  cluster_.StartCoordinator();
  const v1::Job job = ExpectRightEnd();
  EXPECT_EQ(job.attempts_size(), 1) << "nothing was run again";
}

// The group finishes while nobody listens, and hands its result over afterwards.
TEST_F(Kill, AResultMadeWhileTheCoordinatorIsAwayIsNotLost) {
  cluster_.KillCoordinator();
  ASSERT_TRUE(cluster_.AwaitFile(".mp4", 120)) << "the group did not finish by itself";
  cluster_.StartCoordinator();
  const v1::Job job = ExpectRightEnd();
  EXPECT_EQ(job.attempts_size(), 1);
}

// Four ranks on one node: cfg 2 x sp 2, so that there is always a collective that a rank is missed in.
class KillOneOfFour : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartCoordinator();
    cluster_.StartAgent("box-1");
    cluster_.AwaitNodes(1);
    v1::JobSpec spec = MiniJob(40);
    spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
    spec.set_gpu_count(4);
    id_ = cluster_.Submit(spec);
    const v1::Job job =
        cluster_.WatchUntil(id_, [](const v1::Job& seen) { return seen.progress().step() >= 2; });
    ASSERT_EQ(job.attempts_size(), 1);
    group_ = job.attempts(0).group_id();
    rank_pid_ = cluster_.PidOfRank(2);
    ASSERT_NE(rank_pid_, 0);
  }

  TestCluster cluster_{{.coordinator_sets = {absl::StrCat("stall_ms_max=", kStallMs)}}};
  std::string id_, group_;
  pid_t rank_pid_ = 0;
  static constexpr int kStallMs = 8'000;
};

TEST_F(KillOneOfFour, EndsTheGroupWithinASecondAndTheAttemptSaysWhichDied) {
  const auto killed_at = std::chrono::steady_clock::now();
  ASSERT_EQ(::kill(rank_pid_, SIGKILL), 0);
  EXPECT_TRUE(Await(20, [this] { return cluster_.ProcessesOfGroup(group_).empty(); }));
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - killed_at);
  RecordProperty("group_gone_ms", static_cast<int>(took.count()));
  EXPECT_LT(took, std::chrono::seconds(1));
  const v1::Job job = cluster_.AwaitEnd(id_);
  EXPECT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  ASSERT_EQ(job.attempts_size(), 2);
  EXPECT_EQ(job.attempts(0).end(), v1::ATTEMPT_END_WORKER_CRASH);
  EXPECT_NE(job.attempts(0).message().find("rank 2 died of signal 9 (Killed)"), std::string::npos)
      << job.attempts(0).message();
}

TEST_F(KillOneOfFour, OneThatIsStoppedIsFoundAndTheJobRunsAgain) {
  ASSERT_EQ(::kill(rank_pid_, SIGSTOP), 0);
  const v1::Job job = cluster_.AwaitEnd(id_);
  EXPECT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  ASSERT_EQ(job.attempts_size(), 2);
  EXPECT_EQ(job.attempts(0).end(), v1::ATTEMPT_END_TIMEOUT) << job.attempts(0).message();
  EXPECT_TRUE(cluster_.ProcessesOfGroup(group_).empty()) << "a stopped rank takes no SIGTERM";
}

}  // namespace
}  // namespace ovi
