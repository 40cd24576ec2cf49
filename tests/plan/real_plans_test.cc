// What the original's clips take, from its configurations: that the modes keep to what is promised of them
// (docs/vram.md), and that the guide's set-ups fit the cards they name.
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/job/parse_job.h"
#include "worker/plan/clip_plan.h"
#include "worker/plan/gpu_catalog.h"

namespace ovi {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

ModelFolder Preset(const std::string& name) {
  return *OpenModelConfig(absl::StrCat(OVI_SOURCE_DIR "/configs/models/", name));
}

// The peak of the least that a mode takes.
std::int64_t PeakOf(const std::string& preset, int side, VramMode mode, const Topology& topology = {}) {
  const ModelFolder model = Preset(preset);
  JobSpec job;
  job.size = Size{side, side};
  job.vram_mode = mode;
  job.sample_steps = 1;
  ClipRequest clip = *ResolveClip(job, {.text = "rain"}, 0, model, std::nullopt);
  clip.memory = LeastMemoryOf(mode);
  const absl::StatusOr<MemoryPlan> plan = PlanClip(model, clip, {.topology = topology});
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? plan->bytes_peak : 0;
}

TEST(RealPlans, KeepWithinWhatTheModesPromise) {
  const struct {
    const char* preset;
    int side;
    VramMode mode;
    std::int64_t bytes_max;
  } rows[] = {
      {"720x720_5s", 720, VramMode::kStandard, 28 * kGiB},
      {"720x720_5s", 720, VramMode::kFp8, 16 * kGiB},
      {"720x720_5s", 720, VramMode::kFp8Offload, 10 * kGiB},
      {"720x720_5s", 720, VramMode::kUltraLow, 5 * kGiB},
      {"960x960_10s", 960, VramMode::kFp8, 18 * kGiB},
      {"960x960_10s", 960, VramMode::kUltraLow, 8 * kGiB},
  };
  for (const auto& row : rows) {
    const std::int64_t peak = PeakOf(row.preset, row.side, row.mode);
    EXPECT_GT(peak, kGiB);
    EXPECT_LE(peak, row.bytes_max) << row.preset << " " << ToString(row.mode);
  }
}

TEST(RealPlans, FourGpusShareTheLargestPresetInEightGiBEach) {
  const std::int64_t peak =
      PeakOf("960x960_10s", 960, VramMode::kFp8, {.world_size = 4, .cfg = 2, .sp = 2, .fsdp = true});
  EXPECT_GT(peak, kGiB);
  EXPECT_LE(peak, 8 * kGiB);
}

// The guide's five set-ups, as configs/jobs has them: the job as it is written, on the card it names.
TEST(RealPlans, TheGuidesSetUpsFitTheCardsTheyName) {
  const struct {
    const char* job;
    const char* card;
  } rows[] = {
      {"budget_rtx3060_12gb.yaml", "RTX 3060"}, {"midrange_rtx3080.yaml", "RTX 3080"},
      {"single_rtx3090_4090.yaml", "RTX 3090"}, {"single_rtx3090_4090.yaml", "RTX 4090"},
      {"four_rtx3090.yaml", "RTX 3090"},        {"datacenter_a100.yaml", "A100 80GB"},
  };
  const std::vector<GpuModel> gpus = *LoadGpus(OVI_SOURCE_DIR "/configs/gpus.yaml");
  for (const auto& row : rows) {
    SCOPED_TRACE(absl::StrCat(row.job, " ", row.card));
    const absl::StatusOr<JobSpec> job = LoadJob(absl::StrCat(OVI_SOURCE_DIR "/configs/jobs/", row.job), {});
    ASSERT_TRUE(job.ok()) << job.status();
    const ModelFolder model = Preset(job->model_name);
    const GpuModel gpu = *FindGpu(gpus, row.card);
    const absl::StatusOr<ClipRequest> clip = ResolveClip(*job, job->prompts[0], 0, model, std::nullopt);
    ASSERT_TRUE(clip.ok()) << clip.status();
    const absl::StatusOr<Topology> topology =
        ChooseTopology({.world_size = job->gpu_count,
                        .gpus = {.allocation = job->gpu_allocation, .gpu_count = job->gpu_count},
                        .heads = static_cast<int>(model.fusion.video.heads),
                        .two_passes = clip->needs_negative_pass()});
    ASSERT_TRUE(topology.ok()) << topology.status();
    const std::int64_t bytes_max = gpu.bytes - kGpuDriverBytes;
    ClipRequest one_step = *clip;
    one_step.steps = 1;
    const absl::StatusOr<SettledClip> settled =
        SettleMode(model, one_step, {.topology = *topology}, bytes_max);
    ASSERT_TRUE(settled.ok()) << settled.status();
    EXPECT_LE(settled->plan.bytes_peak, bytes_max);
    EXPECT_EQ(settled->clip.vram_mode, job->vram_mode);
  }
}

}  // namespace
}  // namespace ovi
