// Jobs through a real cluster: client, coordinator, agents, mpirun, ranks, and back as files.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/small_file.h"
#include "tests/cluster/test_cluster.h"
#include "tests/e2e/clip_checks.h"
#include "tests/e2e/clip_reader.h"
#include "worker/media/image.h"

namespace ovi {
namespace {

std::string VideoOf(const v1::Job& job) {
  for (const v1::Artifact& artifact : job.artifacts()) {
    if (artifact.kind() == v1::ARTIFACT_KIND_VIDEO) return artifact.file_name();
  }
  return "";
}

grpc::Status FetchLog(TestCluster& cluster, const std::string& job, int attempt, std::string* text) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::GetAttemptLogRequest request;
  request.set_job_id(job);
  request.set_attempt(attempt);
  v1::GetAttemptLogResponse response;
  const grpc::Status status = cluster.jobs().GetAttemptLog(&context, request, &response);
  *text = response.text();
  return status;
}

// The frames of a job's video.
Frames FramesOf(TestCluster& cluster, const v1::Job& job) {
  const absl::StatusOr<std::string> bytes = cluster.Fetch(job.id(), VideoOf(job));
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  if (!bytes.ok()) return {};
  const absl::StatusOr<Frames> frames = ReadFrames(cluster.folder().Write("video.mp4", *bytes), 96, 96);
  EXPECT_TRUE(frames.ok()) << frames.status();
  return frames.ok() ? *frames : Frames{};
}

std::string Upload(TestCluster& cluster, const std::string& bytes, grpc::Status* status) {
  grpc::ClientContext context;
  v1::UploadInputResponse response;
  const auto stream = cluster.jobs().UploadInput(&context, &response);
  constexpr std::size_t kPiece = 1 << 20;
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    v1::UploadInputRequest request;
    request.set_data(bytes.substr(begin, kPiece));
    if (!stream->Write(request)) break;
  }
  stream->WritesDone();
  *status = stream->Finish();
  return response.sha256();
}

// A red square in the middle of a black picture.
Image RedSquare() {
  Image image{.height = 96, .width = 96, .rgb = std::vector<std::uint8_t>(96 * 96 * 3)};
  for (std::size_t y = 36; y < 60; ++y) {
    for (std::size_t x = 36; x < 60; ++x) image.rgb[(y * 96 + x) * 3] = 220;
  }
  return image;
}

class Jobs : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.StartCoordinator();
    cluster_.StartAgent("box-1");
    cluster_.StartAgent("box-2");
    cluster_.AwaitNodes(2);
  }
  TestCluster cluster_;
};

TEST_F(Jobs, WhatTheRanksOfAnAttemptPrintedCanBeFetched) {
  const std::string id = cluster_.Submit(MiniJob(1));
  const v1::Job job = cluster_.AwaitEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  std::string text, none;
  const grpc::Status fetched = FetchLog(cluster_, id, 0, &text);
  ASSERT_TRUE(fetched.ok()) << fetched.error_message();
  EXPECT_NE(text.find("attempt"), std::string::npos) << text;
  EXPECT_EQ(FetchLog(cluster_, id, 2, &none).error_message(),
            "job " + id + " has attempts 1 to 1, there is no attempt 2");
  EXPECT_EQ(FetchLog(cluster_, "99", 0, &none).error_code(), grpc::StatusCode::NOT_FOUND);

  cluster_.KillAgent(job.attempts(0).node());
  cluster_.AwaitNodes(1);
  const grpc::Status away = FetchLog(cluster_, id, 1, &none);
  EXPECT_EQ(away.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(away.error_message(),
            "node " + job.attempts(0).node() + ", which keeps this output, is not connected");

  cluster_.StartAgent(job.attempts(0).node());
  cluster_.AwaitNodes(2);
  std::string again;
  EXPECT_TRUE(FetchLog(cluster_, id, 1, &again).ok());
  EXPECT_EQ(again.substr(0, text.size()), text) << "kept over the agent's restart";
}

TEST_F(Jobs, TextBecomesAVideoThatShowsIt) {
  const std::string id = cluster_.Submit(MiniJob(12));
  const v1::Job job = cluster_.AwaitEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  EXPECT_EQ(job.attempts_size(), 1);
  EXPECT_EQ(job.artifacts_size(), 3);
  const Frames frames = FramesOf(cluster_, job);
  EXPECT_EQ(ColourName(frames), "red");
  EXPECT_EQ(BackgroundName(frames), "black");
  ASSERT_GE(job.attempts(0).memory_size(), 3);
  for (const v1::MemoryReport& memory : job.attempts(0).memory()) {
    EXPECT_GT(memory.device_bytes_peak(), 0);
    EXPECT_LE(memory.device_bytes_peak(), memory.device_bytes_planned());
  }
}

TEST_F(Jobs, TwoRanksMakeTheSameFramesAsOne) {
  v1::JobSpec two = MiniJob(6);
  two.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
  two.set_gpu_count(2);
  const v1::Job one = cluster_.AwaitEnd(cluster_.Submit(MiniJob(6)));
  const v1::Job both = cluster_.AwaitEnd(cluster_.Submit(two));
  ASSERT_EQ(one.state(), v1::JOB_STATE_COMPLETED) << one.error();
  ASSERT_EQ(both.state(), v1::JOB_STATE_COMPLETED) << both.error();
  EXPECT_EQ(both.attempts(0).gpu_indices_size(), 2);
  EXPECT_EQ(FramesOf(cluster_, one).rgb, FramesOf(cluster_, both).rgb);
}

// The largest difference of a byte; of frames that are no alike in number, more than any.
int LargestDifference(const Frames& a, const Frames& b) {
  if (a.rgb.empty() || a.rgb.size() != b.rgb.size()) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<int>(a.rgb[i]) - static_cast<int>(b.rgb[i])));
  return largest;
}

TEST_F(Jobs, FourRanksMakeTheSameFramesAsOneHoweverTheyShareTheWork) {
  v1::JobSpec spec = MiniJob(6);
  spec.set_precision(v1::PRECISION_REFERENCE);
  const v1::Job alone = cluster_.AwaitEnd(cluster_.Submit(spec));
  ASSERT_EQ(alone.state(), v1::JOB_STATE_COMPLETED) << alone.error();
  const Frames expected = FramesOf(cluster_, alone);
  for (const v1::GpuAllocation allocation : {v1::GPU_ALLOCATION_MULTI, v1::GPU_ALLOCATION_FSDP}) {
    spec.set_gpu_allocation(allocation);
    // All GPUs of a node with fsdp.
    spec.set_gpu_count(allocation == v1::GPU_ALLOCATION_MULTI ? 4 : 0);
    const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(spec));
    ASSERT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
    EXPECT_EQ(job.attempts_size(), 1);
    EXPECT_EQ(job.attempts(0).gpu_indices_size(), 4);
    EXPECT_LE(LargestDifference(expected, FramesOf(cluster_, job)), 1) << allocation;
    std::set<int> ranks;
    for (const v1::MemoryReport& memory : job.attempts(0).memory()) {
      ranks.insert(memory.rank());
      EXPECT_LE(memory.device_bytes_peak(), memory.device_bytes_planned()) << "rank " << memory.rank();
    }
    EXPECT_EQ(ranks, (std::set<int>{0, 1, 2, 3}));
  }
}

TEST_F(Jobs, RanksThatTheHeadsCannotBeDividedAmongAreRefused) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = MiniJob();
  request.mutable_spec()->set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
  request.mutable_spec()->set_gpu_count(3);
  grpc::ClientContext context;
  v1::SubmitJobResponse response;
  const grpc::Status status = cluster_.jobs().SubmitJob(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(
      status.error_message(),
      "\"mini-ovi\" cannot be divided among 3 ranks, only among 1, 2, 4; fsdp takes any number; multi_4 "
      "would fit");
}

TEST_F(Jobs, AFirstFrameIsUploadedOnceAndUsed) {
  const std::string path = cluster_.folder() / "frame.png";
  ASSERT_TRUE(WritePng(path, RedSquare()).ok());
  const absl::StatusOr<std::string> image = ReadSmallFile(path, 1 << 20);
  ASSERT_TRUE(image.ok()) << image.status();
  grpc::Status status;
  v1::JobSpec spec = MiniJob(6);
  spec.set_first_frame_sha256(Upload(cluster_, *image, &status));
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Upload(cluster_, *image, &status), spec.first_frame_sha256());
  spec.set_gpu_allocation(v1::GPU_ALLOCATION_MULTI);
  spec.set_gpu_count(2);
  const v1::Job job = cluster_.AwaitEnd(cluster_.Submit(spec));
  EXPECT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
  EXPECT_EQ(job.spec().mode(), v1::MODE_I2V);
}

TEST_F(Jobs, TheSecondJobOfAKindFindsAWarmGroup) {
  const v1::Job first = cluster_.AwaitEnd(cluster_.Submit(MiniJob()));
  const v1::Job second = cluster_.AwaitEnd(cluster_.Submit(MiniJob()));
  ASSERT_EQ(second.state(), v1::JOB_STATE_COMPLETED) << second.error();
  EXPECT_FALSE(first.attempts(0).warm());
  EXPECT_TRUE(second.attempts(0).warm());
  EXPECT_EQ(second.attempts(0).group_id(), first.attempts(0).group_id());
}

TEST_F(Jobs, ARunningJobIsCancelledAndItsGroupGoesOn) {
  const std::string id = cluster_.Submit(MiniJob(1000));
  cluster_.WatchUntil(id, [](const v1::Job& job) { return job.progress().step() >= 2; });
  grpc::ClientContext context;
  v1::CancelJobRequest request;
  request.set_job_id(id);
  v1::CancelJobResponse response;
  ASSERT_TRUE(cluster_.jobs().CancelJob(&context, request, &response).ok());
  EXPECT_EQ(cluster_.AwaitEnd(id).state(), v1::JOB_STATE_CANCELLED);
  const v1::Job next = cluster_.AwaitEnd(cluster_.Submit(MiniJob()));
  EXPECT_EQ(next.state(), v1::JOB_STATE_COMPLETED) << next.error();
  EXPECT_TRUE(next.attempts(0).warm());
}

TEST_F(Jobs, ManyRunSideBySideOnBothNodes) {
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(cluster_.Submit(MiniJob(8)));
  std::set<std::string> nodes;
  for (const std::string& id : ids) {
    const v1::Job job = cluster_.AwaitEnd(id);
    EXPECT_EQ(job.state(), v1::JOB_STATE_COMPLETED) << job.error();
    for (const v1::Attempt& attempt : job.attempts()) nodes.insert(attempt.node());
  }
  EXPECT_EQ(nodes, (std::set<std::string>{"box-1", "box-2"}));
}

}  // namespace
}  // namespace ovi
