// From the coordinator's order to a clip, and from an error to the word for it.
#include "worker/group/attempt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

ModelFolder Mini() {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelFolder{});
}

constexpr std::int64_t kPlenty = std::int64_t{256} << 20;

absl::StatusOr<AttemptRequest> Resolve(const v1::RunAttempt& run, std::optional<FrameSize> image,
                                       int world_size = 1, const std::string& model_name = "mini-ovi",
                                       std::int64_t bytes_per_rank = kPlenty) {
  const ModelFolder model = Mini();
  ClipSettler settler(model, bytes_per_rank);
  return ResolveAttempt(
      run,
      {.model_name = model_name, .model = model, .settler = settler, .world_size = world_size, .shares = {}},
      image);
}

v1::RunAttempt MiniRun() {
  v1::RunAttempt run;
  run.mutable_attempt()->set_job_id("12");
  run.mutable_attempt()->set_attempt(1);
  run.mutable_spec()->set_model_name("mini-ovi");
  run.mutable_spec()->set_text_prompt("A red circle moves right. Audio: a low tone.");
  return run;
}

TEST(ResolveAttempt, TakesWhatTheJobSaysAndTheModelsDefaultsForTheRest) {
  v1::RunAttempt run = MiniRun();
  run.mutable_spec()->set_sample_steps(5);
  run.mutable_spec()->set_seed(std::uint64_t{1} << 63);
  run.mutable_spec()->set_solver(v1::SOLVER_EULER);
  run.mutable_spec()->set_video_negative_prompt("");
  run.mutable_spec()->mutable_size()->set_height(64);
  run.mutable_spec()->mutable_size()->set_width(128);
  run.mutable_spec()->set_precision(v1::PRECISION_REFERENCE);
  const absl::StatusOr<AttemptRequest> request = Resolve(run, std::nullopt);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->clip.prompt, "A red circle moves right. Audio: a low tone.");
  EXPECT_EQ(request->clip.steps, 5);
  EXPECT_EQ(request->clip.seed, std::uint64_t{1} << 63);
  EXPECT_EQ(request->clip.solver, SolverKind::kEuler);
  EXPECT_EQ(request->clip.video_negative_prompt, "");
  EXPECT_EQ(request->clip.audio_negative_prompt, Mini().spec.defaults.audio_negative_prompt);
  EXPECT_EQ(request->clip.video_guidance_scale, Mini().spec.defaults.video_guidance_scale);
  EXPECT_EQ(request->clip.size, (FrameSize{64, 128}));
  EXPECT_EQ(request->clip.policy, PrecisionPolicy::kReference);
  EXPECT_FALSE(request->clip.image_to_video);
}

TEST(ResolveAttempt, SettlesTheClipWithinTheGroupsMemory) {
  v1::RunAttempt run = MiniRun();
  const absl::StatusOr<AttemptRequest> standard = Resolve(run, std::nullopt);
  ASSERT_TRUE(standard.ok()) << standard.status();
  EXPECT_EQ(standard->clip.vram_mode, VramMode::kStandard) << "auto, with room for it";
  EXPECT_GT(standard->plan.bytes_peak, 0);

  run.mutable_spec()->set_vram_mode(v1::VRAM_MODE_ULTRA_LOW);
  const absl::StatusOr<AttemptRequest> low = Resolve(run, std::nullopt);
  ASSERT_TRUE(low.ok()) << low.status();
  EXPECT_EQ(low->clip.vram_mode, VramMode::kUltraLow);
  EXPECT_TRUE(low->clip.memory.streamed);

  // Auto finds something else where that does not fit, and what a mode cannot do is refused with figures.
  run.mutable_spec()->clear_vram_mode();
  const std::int64_t one_less = standard->plan.bytes_peak - 1;
  const absl::StatusOr<AttemptRequest> squeezed = Resolve(run, std::nullopt, 1, "mini-ovi", one_less);
  ASSERT_TRUE(squeezed.ok()) << squeezed.status();
  EXPECT_LE(squeezed->plan.bytes_peak, one_less);

  // A job's own limit is one as well, where it is the lower of the two.
  run.mutable_spec()->set_max_vram_bytes(one_less);
  const absl::StatusOr<AttemptRequest> limited = Resolve(run, std::nullopt);
  ASSERT_TRUE(limited.ok()) << limited.status();
  EXPECT_EQ(limited->plan.bytes_peak, squeezed->plan.bytes_peak);
  run.mutable_spec()->set_max_vram_bytes(kPlenty);
  EXPECT_EQ(Resolve(run, std::nullopt, 1, "mini-ovi", one_less)->plan.bytes_peak, squeezed->plan.bytes_peak);
  run.mutable_spec()->set_vram_mode(v1::VRAM_MODE_STANDARD);
  const absl::Status refused = Resolve(run, std::nullopt, 1, "mini-ovi", 4 << 20).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("vram_mode standard takes"));
}

TEST(ResolveAttempt, TheImageGivesTheShapeOfAnImageToVideoClip) {
  v1::RunAttempt run = MiniRun();
  run.mutable_spec()->set_mode(v1::MODE_I2V);
  run.mutable_spec()->set_first_frame_sha256(std::string(64, 'a'));
  const absl::StatusOr<AttemptRequest> request = Resolve(run, FrameSize{200, 400});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_TRUE(request->clip.image_to_video);
  EXPECT_EQ(request->clip.size, (FrameSize{64, 128}));
}

TEST(ResolveAttempt, SharesTheClipAmongTheRanks) {
  v1::RunAttempt run = MiniRun();
  absl::StatusOr<AttemptRequest> request = Resolve(run, std::nullopt, 4);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->topology.cfg, 2);
  EXPECT_EQ(request->topology.sp, 2);
  EXPECT_FALSE(request->topology.fsdp);
  run.mutable_spec()->set_video_guidance_scale(1);
  run.mutable_spec()->set_audio_guidance_scale(1);
  run.mutable_spec()->set_gpu_allocation(v1::GPU_ALLOCATION_FSDP);
  request = Resolve(run, std::nullopt, 4);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->topology.cfg, 1) << "one pass has no halves";
  EXPECT_EQ(request->topology.sp, 4);
  EXPECT_TRUE(request->topology.fsdp);
}

TEST(ResolveAttempt, RefusesWhatThisGroupCannotMake) {
  v1::RunAttempt framed = MiniRun();
  framed.mutable_spec()->set_mode(v1::MODE_I2V);
  framed.mutable_spec()->set_first_frame_sha256(std::string(64, 'a'));
  v1::RunAttempt no_prompt = MiniRun();
  no_prompt.mutable_spec()->clear_text_prompt();
  v1::RunAttempt steps = MiniRun();
  steps.mutable_spec()->set_sample_steps(1001);
  const struct {
    v1::RunAttempt run;
    std::optional<FrameSize> image;
    const char* model_name;
    absl::StatusCode code;
    const char* says;
  } rows[] = {
      {MiniRun(), std::nullopt, "other", absl::StatusCode::kInternal, "model_name"},
      {MiniRun(), FrameSize{96, 96}, "mini-ovi", absl::StatusCode::kInvalidArgument, "first_frame_sha256"},
      {framed, std::nullopt, "mini-ovi", absl::StatusCode::kInvalidArgument, "first_frame_sha256"},
      {no_prompt, std::nullopt, "mini-ovi", absl::StatusCode::kInvalidArgument, "text_prompt"},
      {steps, std::nullopt, "mini-ovi", absl::StatusCode::kInvalidArgument, "sample_steps"},
  };
  for (const auto& row : rows) {
    const absl::Status status = Resolve(row.run, row.image, 1, row.model_name).status();
    EXPECT_EQ(status.code(), row.code) << row.says;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(row.says));
  }
}

TEST(EndOf, HasAWordForEveryError) {
  EXPECT_EQ(EndOf(absl::OkStatus()), v1::ATTEMPT_END_COMPLETED);
  EXPECT_EQ(EndOf(absl::CancelledError("")), v1::ATTEMPT_END_CANCELLED);
  EXPECT_EQ(EndOf(absl::ResourceExhaustedError("")), v1::ATTEMPT_END_OUT_OF_MEMORY);
  EXPECT_EQ(EndOf(absl::FailedPreconditionError("")), v1::ATTEMPT_END_NODE_NOT_READY);
  EXPECT_EQ(EndOf(absl::InvalidArgumentError("")), v1::ATTEMPT_END_BAD_INPUT);
  for (const absl::Status& status :
       {absl::UnavailableError(""), absl::InternalError(""), absl::NotFoundError(""), absl::AbortedError(""),
        absl::UnknownError("")}) {
    EXPECT_EQ(EndOf(status), v1::ATTEMPT_END_WORKER_CRASH) << status;
  }
}

}  // namespace
}  // namespace ovi
