// An unmodified gRPC client of another language works by reflection alone.
#include <gtest/gtest.h>

#include "base/subprocess.h"
#include "tests/cluster/test_cluster.h"
#include "tests/e2e/clip_checks.h"
#include "tests/e2e/clip_reader.h"

namespace ovi {
namespace {

TEST(ThirdPartyClient, SubmitsWatchesAndDownloads) {
  TestCluster cluster;
  cluster.StartCoordinator();
  cluster.StartAgent("box");
  cluster.AwaitNodes(1);
  const std::string video = cluster.folder() / "fetched.mp4";
  const absl::StatusOr<CapturedRun> run =
      RunAndCapture({"/usr/bin/python3", OVI_SOURCE_DIR "/tests/cluster/third_party_client.py",
                     cluster.address(), video, "/usr/share/grpc-proto"});
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_TRUE(run->exit.ok()) << run->exit.ToString() << ": " << run->stderr_tail;
  EXPECT_NE(run->stdout_text.find("JOB_STATE_COMPLETED"), std::string::npos) << run->stdout_text;
  const absl::StatusOr<Frames> frames = ReadFrames(video, 96, 96);
  ASSERT_TRUE(frames.ok()) << frames.status();
  EXPECT_GT(frames->count, 1);
}

}  // namespace
}  // namespace ovi
