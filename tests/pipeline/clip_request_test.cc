// What becomes of a job's wishes and a model's defaults.
#include "worker/pipeline/clip_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/pipeline/mini_model.h"
#include "worker/job/parse_job.h"

namespace ovi {
namespace {

using testing::HasSubstr;

ModelFolder Mini() {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelFolder{});
}

ClipRequest Resolve(const JobSpec& job, std::optional<FrameSize> image = std::nullopt, int repeat = 0) {
  const absl::StatusOr<ClipRequest> clip = ResolveClip(job, {.text = "a cat"}, repeat, Mini(), image);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return clip.value_or(ClipRequest{});
}

TEST(ClipRequest, TakesTheModelsDefaults) {
  const ClipRequest clip = Resolve({});
  EXPECT_EQ(clip.prompt, "a cat");
  EXPECT_EQ(clip.video_negative_prompt, "jitter, bad hands, blur, distortion");
  EXPECT_EQ(clip.audio_negative_prompt, "robotic, muffled, echo, distorted");
  EXPECT_EQ(clip.seed, 103u);
  EXPECT_EQ(clip.steps, 12);
  EXPECT_EQ(clip.solver, SolverKind::kUniPc);
  EXPECT_EQ(clip.shift, 5.0);
  EXPECT_EQ(clip.video_guidance_scale, 2.0);
  EXPECT_EQ(clip.audio_guidance_scale, 2.0);
  EXPECT_EQ(clip.skip_block, -1);
  EXPECT_EQ(clip.policy, PrecisionPolicy::kAsExecuted);
  EXPECT_FALSE(clip.torch_cuda_noise.has_value());
  EXPECT_FALSE(clip.image_to_video);
  EXPECT_EQ(clip.size, (FrameSize{96, 96}));
  EXPECT_EQ(clip.latent.video(), (Shape{48, 7, 6, 6}));
  EXPECT_EQ(clip.latent.audio(), (Shape{32, 20}));
}

// The original's flags and the guide's modes are one choice, all the way to the bytes.
TEST(ClipRequest, OldFlagsLayMemoryOutAsTheirModesDo) {
  const auto layout = [](const std::string& lines) {
    const absl::StatusOr<JobSpec> job = ParseJob("text_prompt: a cat\n" + lines, "job.yaml", "", {});
    EXPECT_TRUE(job.ok()) << job.status();
    const ClipRequest clip = Resolve(*job);
    return std::pair(clip.vram_mode, clip.memory);
  };
  EXPECT_EQ(layout("fp8: true\n"), layout("vram_mode: fp8\n"));
  EXPECT_EQ(layout("fp8: true\ncpu_offload: true\n"), layout("vram_mode: fp8_offload\n"));
  EXPECT_EQ(layout("qint8: true\n"), layout("vram_mode: ultra_low\n"));
  EXPECT_EQ(layout("cpu_offload: true\n"), layout("vram_mode: standard\n"));
  EXPECT_EQ(layout(""), layout("vram_mode: auto\n"));
  EXPECT_NE(layout("fp8: true\n"), layout("qint8: true\n"));
}

TEST(ClipRequest, RefusesQuantisedWeightsInReferencePrecision) {
  JobSpec job;
  job.precision = Precision::kReference;
  for (const VramMode mode : {VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow}) {
    job.vram_mode = mode;
    const absl::Status status = ResolveClip(job, {.text = "a cat"}, 0, Mini(), std::nullopt).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("contradicts precision reference"));
  }
}

TEST(ClipRequest, CompressesWhereAdaptersAreEnabledAndNone) {
  JobSpec job;
  for (const VramMode mode :
       {VramMode::kAuto, VramMode::kStandard, VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow}) {
    job.vram_mode = mode;
    job.enable_lora = true;
    const MemoryLayout compressed = Resolve(job).memory;
    job.enable_lora = false;
    MemoryLayout expected = Resolve(job).memory;
    EXPECT_EQ(expected.block_matrices.low_rank, 0);
    expected.block_matrices = LowRankFormat(kDefaultRank);
    EXPECT_EQ(compressed, expected) << ToString(mode) << ": where weights are is as without";
  }
  job.enable_lora = true;
  EXPECT_EQ(ResolveClip(job, {.text = "a cat"}, 0, Mini(), std::nullopt, 64)->fusion_format().block_matrices,
            LowRankFormat(64));
  job.loras.push_back({.path = "style"});
  EXPECT_EQ(Resolve(job).memory.block_matrices.low_rank, 0) << "merged weights stay as they are";
}

TEST(ClipRequest, RefusesToCompressWhatIsToBeExact) {
  JobSpec job;
  job.enable_lora = true;
  job.precision = Precision::kReference;
  const absl::Status status = ResolveClip(job, {.text = "a cat"}, 0, Mini(), std::nullopt).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("enable_lora: without loras it compresses weights"));
}

TEST(ClipRequest, PrefersTheJobsWishes) {
  JobSpec job;
  job.video_negative_prompt.emplace();  // nothing is a wish too
  job.audio_negative_prompt = "hiss";
  job.seed = 7;
  job.sample_steps = 3;
  job.solver = SolverKind::kEuler;
  job.shift = 1.5;
  job.video_guidance_scale = 0;
  job.audio_guidance_scale = 3;
  job.slg_layer = 4;
  job.precision = Precision::kReference;
  job.torch_cuda = TorchCudaDevice{.sm_count = 108, .max_threads_per_sm = 2048};
  const ClipRequest clip = Resolve(job, std::nullopt, 5);
  EXPECT_EQ(clip.video_negative_prompt, "");
  EXPECT_EQ(clip.audio_negative_prompt, "hiss");
  EXPECT_EQ(clip.seed, 12u) << "the sixth repeat of seed 7";
  EXPECT_EQ(clip.steps, 3);
  EXPECT_EQ(clip.solver, SolverKind::kEuler);
  EXPECT_EQ(clip.shift, 1.5);
  EXPECT_EQ(clip.video_guidance_scale, 0);
  EXPECT_EQ(clip.audio_guidance_scale, 3);
  EXPECT_EQ(clip.skip_block, 4);
  EXPECT_EQ(clip.policy, PrecisionPolicy::kReference);
  EXPECT_EQ(clip.torch_cuda_noise, job.torch_cuda);
}

TEST(ClipRequest, WritesThePromptInTheModelsStyle) {
  ModelFolder model = Mini();
  const PromptItem colon{.text = "a cat. Audio: a purr"};
  const PromptItem tags{.text = "a cat. <AUDCAP>a purr<ENDAUDCAP>"};
  model.spec.prompt_style = PromptStyle::kAudcapTags;
  EXPECT_EQ(ResolveClip({}, colon, 0, model, std::nullopt)->prompt, tags.text);
  model.spec.prompt_style = PromptStyle::kAudioColon;
  EXPECT_EQ(ResolveClip({}, tags, 0, model, std::nullopt)->prompt, colon.text);
}

TEST(ClipRequest, SwitchesSkipLayerGuidanceOffAtZeroAndBelow) {
  const struct {
    int asked;
    std::int64_t block;
  } rows[] = {{-1, -1}, {0, -1}, {1, 1}, {11, 11}};
  for (const auto& row : rows) {
    JobSpec job;
    job.slg_layer = row.asked;
    EXPECT_EQ(Resolve(job).skip_block, row.block) << row.asked;
  }
}

TEST(ClipRequest, NeedsTheNegativePassUnlessBothScalesAreOne) {
  const struct {
    double video, audio;
    bool needed;
  } rows[] = {{1, 1, false}, {1, 2, true}, {2, 1, true}, {0, 1, true}, {4, 3, true}};
  for (const auto& row : rows) {
    JobSpec job;
    job.video_guidance_scale = row.video;
    job.audio_guidance_scale = row.audio;
    EXPECT_EQ(Resolve(job).needs_negative_pass(), row.needed) << row.video << " " << row.audio;
  }
}

TEST(ClipRequest, SnapsTheSizeToTheModelsArea) {
  const struct {
    Size asked;
    FrameSize size;
  } rows[] = {
      {{96, 96}, {96, 96}},
      {{704, 704}, {96, 96}},
      {{64, 144}, {64, 128}},  // 144 = 4.5 * 32, to the even multiple
      {{1280, 320}, {192, 64}},
  };
  for (const auto& row : rows) {
    JobSpec job;
    job.size = row.asked;
    const ClipRequest clip = Resolve(job);
    EXPECT_EQ(clip.size, row.size) << row.asked.height << "x" << row.asked.width << " became "
                                   << clip.size.height << "x" << clip.size.width;
    EXPECT_EQ(clip.latent.rows, row.size.height / 16);
    EXPECT_EQ(clip.latent.columns, row.size.width / 16);
  }
}

TEST(ClipRequest, TakesTheImagesShapeInsteadOfTheJobs) {
  JobSpec job;
  job.size = Size{.height = 96, .width = 96};
  const ClipRequest clip = Resolve(job, FrameSize{.height = 300, .width = 600});
  EXPECT_TRUE(clip.image_to_video);
  EXPECT_EQ(clip.size, (FrameSize{64, 128}));
  EXPECT_FALSE(Resolve(job).image_to_video);
}

TEST(ClipRequest, RefusesAnotherDurationThanTheModels) {
  JobSpec job;
  job.duration_seconds = 1;
  EXPECT_TRUE(ResolveClip(job, {}, 0, Mini(), std::nullopt).ok());
  job.duration_seconds = 5;
  const absl::Status status = ResolveClip(job, {}, 0, Mini(), std::nullopt).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("duration: 5 s"));
}

TEST(ClipRequest, RefusesMorePatchesASideThanThereArePositions) {
  ModelFolder model = Mini();
  model.spec.video_area = std::int64_t{1} << 26;
  JobSpec job;
  job.size = Size{.height = 32, .width = 8192};
  const absl::Status status = ResolveClip(job, {}, 0, model, std::nullopt).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("too elongated"));
}

}  // namespace
}  // namespace ovi
