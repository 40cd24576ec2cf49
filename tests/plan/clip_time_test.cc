// Predicted times against the ceilings that the model's specification derives, and against what must be.
#include "worker/plan/clip_time.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/plan/clip_plan.h"

namespace ovi {
namespace {

constexpr GpuModel kRtx3090{.name = "RTX 3090",
                            .bytes = std::int64_t{24} << 30,
                            .bf16_flops = 71e12,
                            .fp8_flops = 0,
                            .int8_ops = 284e12,
                            .memory_bytes_per_second = 936e9,
                            .link_bytes_per_second = 31.5e9};

ModelFolder Preset(const std::string& name) {
  return *OpenModelConfig(absl::StrCat(OVI_SOURCE_DIR "/configs/models/", name));
}

// A preset's clip of the size that the specification reckons with.
class Clip {
 public:
  Clip(const std::string& preset, VramMode mode) : model_(Preset(preset)) {
    JobSpec job;
    job.size = Size{960, 960};
    job.vram_mode = mode;
    clip_ = *ResolveClip(job, {.text = "rain"}, 0, model_, std::nullopt);
    clip_.memory = LeastMemoryOf(mode);
    unit_bytes_ = *UnitBytesOf(model_, clip_.fusion_format());
  }
  ClipTime On(const GpuModel& gpu, const Topology& topology = {}) const {
    return EstimateTime({model_, clip_, topology, gpu, unit_bytes_});
  }
  ClipRequest& clip() { return clip_; }
  int steps() const { return clip_.steps; }

 private:
  ModelFolder model_;
  ClipRequest clip_;
  std::map<FusionPiece, std::int64_t> unit_bytes_;
};

// Section 11: what 71 Tflop/s would take at the very least, one GPU and four.
TEST(EstimateTime, IsAboveTheCeilingsAndNotFarFromThem) {
  const struct {
    const char* preset;
    double one, four;
  } rows[] = {{"720x720_5s", 345, 86}, {"960x960_5s", 822, 205}, {"960x960_10s", 2382, 595}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.preset);
    const Clip clip(row.preset, VramMode::kStandard);
    const double one = clip.On(kRtx3090).seconds();
    const double four = clip.On(kRtx3090, {.world_size = 4, .cfg = 2, .sp = 2}).seconds();
    EXPECT_GT(one, row.one);
    EXPECT_LT(one, 2.2 * row.one);
    EXPECT_GT(four, row.four);
    EXPECT_LT(four, 2.4 * row.four);
  }
}

// Section 11 again: 1106, 2057 and 4093 TFLOP, and 2.4 of 256 tokens of text.
TEST(DecodeFlop, IsTheModels) {
  const VideoVaeConfig vae = Preset("720x720_5s").video_vae;
  const auto latent = [](std::int64_t frames, std::int64_t side) {
    return LatentShape{.channels = 48, .frames = frames, .rows = side, .columns = side};
  };
  EXPECT_NEAR(DecodeFlop(vae, latent(31, 44)) / 1e12, 1106, 6);
  EXPECT_NEAR(DecodeFlop(vae, latent(31, 60)) / 1e12, 2057, 10);
  EXPECT_NEAR(DecodeFlop(vae, latent(61, 60)) / 1e12, 4093, 20);
  EXPECT_NEAR(TextFlop(Preset("720x720_5s").text, 256) / 1e12, 2.4, 0.05);
}

TEST(DecodeFlop, GrowsWithStripsAndIsSharedOut) {
  const VideoVaeConfig vae = Preset("720x720_5s").video_vae;
  const LatentShape latent{.channels = 48, .frames = 31, .rows = 44, .columns = 44};
  const double whole = DecodeFlop(vae, latent);
  const double two = DecodeFlop(vae, latent, 1, 2);
  const double four = DecodeFlop(vae, latent, 1, 4);
  EXPECT_GT(two, whole);
  EXPECT_GT(four, two);
  EXPECT_LT(four, 2.5 * whole) << "edges are made twice, not everything";
  EXPECT_NEAR(DecodeFlop(vae, latent, 4), whole / 4, 0.05 * whole);
}

TEST(EstimateTime, FallsWithEveryRateOfTheCard) {
  for (const VramMode mode : {VramMode::kStandard, VramMode::kFp8, VramMode::kUltraLow}) {
    const Clip clip("720x720_5s", mode);
    const double seconds = clip.On(kRtx3090).seconds();
    GpuModel better = kRtx3090;
    better.bf16_flops *= 2;
    EXPECT_LT(clip.On(better).seconds(), seconds);
    better = kRtx3090;
    better.memory_bytes_per_second *= 2;
    EXPECT_LT(clip.On(better).seconds(), seconds);
    better = kRtx3090;
    better.link_bytes_per_second *= 2;
    EXPECT_LT(clip.On(better).seconds(), seconds);
    better = kRtx3090;
    better.int8_ops *= 2;
    EXPECT_EQ(clip.On(better).seconds() < seconds, mode == VramMode::kUltraLow);
    better = kRtx3090;
    better.fp8_flops = 2 * better.bf16_flops;
    EXPECT_EQ(clip.On(better).seconds() < seconds, mode == VramMode::kFp8);
  }
}

TEST(EstimateTime, GrowsWithSizeAndStepsAndShrinksWithRanks) {
  const Clip small("720x720_5s", VramMode::kFp8), middle("960x960_5s", VramMode::kFp8),
      large("960x960_10s", VramMode::kFp8);
  EXPECT_LT(small.On(kRtx3090).seconds(), middle.On(kRtx3090).seconds());
  EXPECT_LT(middle.On(kRtx3090).seconds(), large.On(kRtx3090).seconds());
  double before = small.On(kRtx3090).seconds();
  for (const int ranks : {2, 4, 8}) {
    const double now = small.On(kRtx3090, {.world_size = ranks, .cfg = 2, .sp = ranks / 2}).seconds();
    EXPECT_LT(now, before);
    before = now;
  }
  Clip half("720x720_5s", VramMode::kFp8);
  half.clip().steps /= 2;
  EXPECT_DOUBLE_EQ(half.On(kRtx3090).denoise_seconds() - half.On(kRtx3090).load_seconds,
                   0.5 * small.On(kRtx3090).step_seconds * small.steps());
}

// The architecture's claim: copies hide behind computing on PCIe 4, and decide on a slow slot.
TEST(EstimateTime, StreamsBehindTheComputingAsLongAsTheSlotIsFastEnough) {
  Clip resident("720x720_5s", VramMode::kFp8);
  const Clip streamed("720x720_5s", VramMode::kFp8Offload);
  EXPECT_NEAR(streamed.On(kRtx3090).step_seconds, resident.On(kRtx3090).step_seconds, 1e-9);
  GpuModel slow = kRtx3090;
  slow.link_bytes_per_second = 0.5e9;
  EXPECT_GT(streamed.On(slow).step_seconds, 2 * resident.On(slow).step_seconds);
  EXPECT_LT(streamed.On(slow).load_seconds, resident.On(slow).load_seconds);
}

}  // namespace
}  // namespace ovi
