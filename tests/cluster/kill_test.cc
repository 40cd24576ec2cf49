// kill -9, one process at a time and while a job runs: the job ends COMPLETED with one right result, and
// nothing is left behind.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace ovi
