// docs/vram.md shows what fits: its tables are made here, and must stand there word for word.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/format.h"
#include "base/small_file.h"
#include "worker/plan/clip_plan.h"
#include "worker/plan/clip_time.h"
#include "worker/plan/gpu_catalog.h"

namespace ovi {
namespace {

struct Preset {
  const char* name;
  int side;  // of the size asked for
};
constexpr Preset kPresets[] = {{"720x720_5s", 720}, {"960x960_5s", 960}, {"960x960_10s", 960}};
constexpr VramMode kModes[] = {VramMode::kStandard, VramMode::kFp8, VramMode::kFp8Offload,
                               VramMode::kUltraLow};

ModelFolder Model(const Preset& preset) {
  return *OpenModelConfig(absl::StrCat(OVI_SOURCE_DIR "/configs/models/", preset.name));
}

// A clip of 50 steps, planned with one.
ClipRequest Clip(const Preset& preset, const ModelFolder& model, VramMode mode) {
  JobSpec job;
  job.size = Size{preset.side, preset.side};
  job.vram_mode = mode;
  job.sample_steps = 1;
  return *ResolveClip(job, {.text = "rain"}, 0, model, std::nullopt);
}

std::string GiB(std::int64_t bytes) {
  return absl::StrFormat("%.1f", static_cast<double>(bytes) / (std::int64_t{1} << 30));
}

// What the modes need.
std::string ModeTable() {
  std::string table =
      "| preset | vram_mode | encode | denoise | decode | **needs** | main memory | four GPUs, `fsdp_4`: "
      "each needs |\n"
      "|---|---|---|---|---|---|---|---|\n";
  const Topology four{.world_size = 4, .cfg = 2, .sp = 2, .fsdp = true};
  for (const Preset& preset : kPresets) {
    const ModelFolder model = Model(preset);
    for (const VramMode mode : kModes) {
      ClipRequest clip = Clip(preset, model, mode);
      clip.memory = LeastMemoryOf(mode);
      const MemoryPlan alone = *PlanClip(model, clip);
      const MemoryPlan each = *PlanClip(model, clip, {.topology = four});
      absl::StrAppend(&table, "| ", preset.name, " | ", ToString(mode));
      for (const Stage stage : {Stage::kEncode, Stage::kDenoise, Stage::kDecode}) {
        absl::StrAppend(&table, " | ", GiB(PlannedBytes(alone, stage)));
      }
      absl::StrAppend(&table, " | **", GiB(alone.bytes_peak), "** | ", GiB(alone.host_bytes), " | ",
                      GiB(each.bytes_peak), " |\n");
    }
  }
  return table;
}

// What `auto` takes on a card, and how long that is predicted to be.
std::string CardTable() {
  std::string table = "| card | a job may take |";
  for (const Preset& preset : kPresets) absl::StrAppend(&table, " ", preset.name, " |");
  table += "\n|---|---|---|---|---|\n";
  const std::vector<GpuModel> gpus = *LoadGpus(OVI_SOURCE_DIR "/configs/gpus.yaml");
  for (const char* name :
       {"RTX 3060", "RTX 3080", "RTX 4080", "RTX 3090", "RTX 4090", "RTX 5090", "A100 80GB"}) {
    const GpuModel gpu = *FindGpu(gpus, name);
    const std::int64_t bytes_max = gpu.bytes - kGpuDriverBytes;
    absl::StrAppend(&table, "| ", gpu.name, " | ", FormatBytes(bytes_max));
    for (const Preset& preset : kPresets) {
      const ModelFolder model = Model(preset);
      SettledClip settled = *SettleClip(model, Clip(preset, model, VramMode::kAuto), {}, bytes_max);
      settled.clip.steps = 50;
      const auto unit_bytes = *UnitBytesOf(model, settled.clip.fusion_format());
      const ClipTime time = EstimateTime({model, settled.clip, Topology{}, gpu, unit_bytes});
      absl::StrAppend(&table, " | ", ToString(settled.clip.vram_mode), ", ", FormatSeconds(time.seconds()));
    }
    table += " |\n";
  }
  return table;
}

TEST(VramDoc, HoldsTheTablesThatTheCodeComputes) {
  const absl::StatusOr<std::string> doc = ReadSmallFile(OVI_SOURCE_DIR "/docs/vram.md", 1 << 20);
  ASSERT_TRUE(doc.ok()) << doc.status();
  for (const std::string& table : {ModeTable(), CardTable()}) {
    EXPECT_NE(doc->find(table), std::string::npos) << "expected in docs/vram.md:\n" << table;
  }
}

}  // namespace
}  // namespace ovi
