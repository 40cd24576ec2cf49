// The jobs we ship say what the low-VRAM guide recommends, and all of them load.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "worker/job/parse_job.h"

namespace ovi {
namespace {

const std::string kFolder = OVI_SOURCE_DIR "/configs/jobs";

TEST(ShippedJobs, AllLoadWithoutWarnings) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".yaml") continue;
    const absl::StatusOr<JobSpec> spec = LoadJob(entry.path().string(), {});
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_THAT(spec->warnings, ::testing::IsEmpty()) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 8);
}

TEST(ShippedJobs, AreTheGuidesFiveSetups) {
  const struct {
    const char* file;
    VramMode vram_mode;
    bool enable_lora;
    const char* gpu_allocation;
    const char* model_name;
    int sample_steps;
  } kSetups[] = {
      {"budget_rtx3060_12gb", VramMode::kUltraLow, true, "single", "720x720_5s", 30},
      {"midrange_rtx3080", VramMode::kFp8Offload, false, "single", "960x960_5s", 50},
      {"single_rtx3090_4090", VramMode::kFp8, false, "single", "960x960_10s", 50},
      {"four_rtx3090", VramMode::kFp8, false, "multi_4", "960x960_10s", 50},
      {"datacenter_a100", VramMode::kStandard, false, "single", "960x960_10s", 50},
  };
  for (const auto& setup : kSetups) {
    const absl::StatusOr<JobSpec> spec = LoadJob(absl::StrCat(kFolder, "/", setup.file, ".yaml"), {});
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->vram_mode, setup.vram_mode) << setup.file;
    EXPECT_EQ(spec->enable_lora, setup.enable_lora) << setup.file;
    EXPECT_EQ(ToString(GpuRequest{spec->gpu_allocation, spec->gpu_count}), setup.gpu_allocation)
        << setup.file;
    EXPECT_EQ(spec->model_name, setup.model_name) << setup.file;
    EXPECT_EQ(spec->sample_steps, setup.sample_steps) << setup.file;
  }
}

TEST(ShippedJobs, DistilledIsTenStepsOfOnePassWithAnAdapter) {
  const absl::StatusOr<JobSpec> spec = LoadJob(kFolder + "/distilled.yaml", {});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->sample_steps, 10);
  EXPECT_EQ(spec->video_guidance_scale, 1.0);
  EXPECT_EQ(spec->audio_guidance_scale, 1.0);
  EXPECT_TRUE(spec->enable_lora);
  EXPECT_THAT(spec->loras, ::testing::ElementsAre(LoraSpec{"distilled", 1.0}));
  EXPECT_TRUE(IsLoraName(spec->loras[0].path)) << "so that a cluster takes it too";
}

TEST(ShippedJobs, MiniOviStaysInsideItsModelsGrammar) {
  const absl::StatusOr<JobSpec> one = LoadJob(kFolder + "/mini-ovi.yaml", {});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->model_name, "mini-ovi");
  EXPECT_EQ(one->prompts[0].text,
            "A red circle moves right across a black background. Audio: a low steady tone.");
  const absl::StatusOr<JobSpec> list = LoadJob(kFolder + "/mini-ovi_prompts.yaml", {});
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_GE(list->prompts.size(), 4u);
}

}  // namespace
}  // namespace ovi
