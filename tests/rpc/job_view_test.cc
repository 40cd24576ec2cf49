#include "coordinator/rpc/job_view.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/convert.h"

namespace ovi {
namespace {

core::State StateWith(int jobs) {
  core::State state;
  for (int id = 1; id <= jobs; ++id) {
    const core::JobRequest request{.user = id % 2 == 0 ? "even" : "odd", .model_name = "m"};
    EXPECT_TRUE(
        core::Apply(
            state,
            core::JobAdded{
                .job = id, .at = id, .request_id = "", .request = request, .spec = "", .warnings = {}})
            .ok());
    if (id % 5 == 0) {
      EXPECT_TRUE(
          core::Apply(
              state,
              core::JobFinished{
                  .job = id, .at = id, .state = core::JobState::kCancelled, .error = "", .artifacts = {}})
              .ok());
    }
  }
  return state;
}

// All pages, one after the other.
std::vector<std::string> Pages(const core::State& state, v1::ListJobsRequest request, int* pages = nullptr) {
  std::vector<std::string> ids;
  do {
    v1::ListJobsResponse response;
    EXPECT_TRUE(ViewPage(state, request, response).ok());
    for (const v1::Job& job : response.jobs()) ids.push_back(job.id());
    request.set_page_token(response.next_page_token());
    if (pages != nullptr) ++*pages;
  } while (!request.page_token().empty());
  return ids;
}

TEST(ViewPage, GivesEveryJobOnceNewestFirst) {
  const core::State state = StateWith(25);
  v1::ListJobsRequest request;
  request.set_page_size(10);
  int pages = 0;
  const std::vector<std::string> ids = Pages(state, request, &pages);
  ASSERT_EQ(ids.size(), 25U);
  EXPECT_EQ(pages, 3);
  for (int i = 0; i < 25; ++i) EXPECT_EQ(ids[static_cast<std::size_t>(i)], absl::StrCat(25 - i));
}

TEST(ViewPage, FiltersByStateAndUser) {
  const core::State state = StateWith(20);
  v1::ListJobsRequest request;
  request.add_states(v1::JOB_STATE_CANCELLED);
  request.set_user("even");
  EXPECT_EQ(Pages(state, request), (std::vector<std::string>{"20", "10"}));
}

TEST(ViewPage, GoesOnWhereItWasWhenJobsComeAndGo) {
  core::State state = StateWith(10);
  v1::ListJobsRequest request;
  request.set_page_size(5);
  v1::ListJobsResponse first;
  ASSERT_TRUE(ViewPage(state, request, first).ok());
  ASSERT_TRUE(core::Apply(state, core::JobForgotten{.job = 5}).ok());
  request.set_page_token(first.next_page_token());
  v1::ListJobsResponse second;
  ASSERT_TRUE(ViewPage(state, request, second).ok());
  ASSERT_EQ(second.jobs_size(), 4);
  EXPECT_EQ(second.jobs(0).id(), "4");
}

TEST(ViewPage, RefusesSizesAndTokensThatCannotBe) {
  const core::State state = StateWith(1);
  for (const auto& [size, token] : {std::pair{-1, ""}, {1001, ""}, {0, "x"}, {0, "-3"}}) {
    v1::ListJobsRequest request;
    request.set_page_size(size);
    request.set_page_token(token);
    v1::ListJobsResponse response;
    EXPECT_EQ(ViewPage(state, request, response).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ViewJob, SaysWhyAJobWaits) {
  const core::State state = StateWith(1);
  const absl::StatusOr<v1::Job> job = ViewJob(state, 1);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::JOB_STATE_PENDING);
  EXPECT_FALSE(job->pending_reason().empty());
  EXPECT_EQ(ViewJob(state, 2).status().code(), absl::StatusCode::kNotFound);
}

TEST(Convert, KeepsAttemptsAndTheirEnds) {
  core::Job job;
  job.id = 7;
  job.state = core::JobState::kRunning;
  job.attempts.push_back({.number = 1,
                          .node = "a",
                          .gpu_indices = {1, 2},
                          .bytes_per_rank = 5,
                          .group = "g7-1",
                          .warm = true,
                          .started_at = 10,
                          .ended_at = 20,
                          .end = core::AttemptEnd::kWorkerCrash,
                          .message = "boom",
                          .memory = {{.rank = 1,
                                      .stage = core::Stage::kDecode,
                                      .device_bytes_peak = 3,
                                      .device_bytes_planned = 4,
                                      .seconds = 0.5}}});
  job.progress = {.stage = core::Stage::kDenoise, .step = 3, .steps = 9, .seconds_per_step = 0.25};
  const v1::Job proto = ToProto(job, "");
  EXPECT_EQ(proto.id(), "7");
  EXPECT_EQ(proto.started_at_ms(), 10);
  EXPECT_EQ(proto.last_end(), v1::ATTEMPT_END_WORKER_CRASH);
  ASSERT_EQ(proto.attempts_size(), 1);
  EXPECT_EQ(proto.attempts(0).gpu_indices_size(), 2);
  EXPECT_EQ(FromProto(proto.attempts(0).memory(0)), job.attempts[0].memory[0]);
  EXPECT_EQ(FromProto(proto.progress()), job.progress);
}

TEST(Convert, SettlesTheModelAndTheMode) {
  v1::JobSpec spec;
  spec.set_text_prompt("a");
  std::vector<std::string> warnings;
  Complete(spec, warnings);
  EXPECT_EQ(spec.model_name(), "960x960_5s");
  EXPECT_EQ(spec.mode(), v1::MODE_T2V);
  v1::JobSpec ten;
  ten.set_duration_seconds(10);
  ten.set_first_frame_sha256(std::string(64, 'a'));
  Complete(ten, warnings);
  EXPECT_EQ(ten.model_name(), "960x960_10s");
  EXPECT_EQ(ten.mode(), v1::MODE_I2V);
  EXPECT_TRUE(warnings.empty());
}

TEST(Convert, TakesOutOfAJobWhatSchedulingGoesBy) {
  v1::JobSpec spec;
  spec.set_model_name("mini-ovi");
  spec.set_user("ada");
  spec.set_vram_mode(v1::VRAM_MODE_FP8_OFFLOAD);
  spec.set_max_vram_bytes(std::int64_t{8} << 30);
  spec.set_enable_lora(true);
  const core::JobRequest wanted{.user = "ada",
                                .model_name = "mini-ovi",
                                .low_rank = true,
                                .vram_mode = VramMode::kFp8Offload,
                                .vram_bytes_max = std::int64_t{8} << 30};
  EXPECT_EQ(RequestOf(spec), wanted);
  spec.add_loras()->set_path("style");
  EXPECT_FALSE(RequestOf(spec).low_rank) << "adapters are merged, nothing is compressed";
}

TEST(ParseJobId, TakesPositiveNumbersOnly) {
  EXPECT_EQ(ParseJobId("42").value(), 42);
  for (const char* text : {"", "0", "-1", "4x", "99999999999999999999", "../1"}) {
    EXPECT_FALSE(ParseJobId(text).ok()) << text;
  }
}

}  // namespace
}  // namespace ovi
