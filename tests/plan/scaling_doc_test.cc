// docs/scaling.md shows what the code predicts: its tables are made here, and must stand there word for word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/small_file.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/dry_run_backend.h"
#include "tests/temp_folder.h"
#include "worker/model/unit_buffer.h"
#include "worker/pipeline/clip_request.h"
#include "worker/plan/shape_weights.h"
#include "worker/plan/step_time.h"

namespace ovi {
namespace {

// An RTX 3090: 65 and 50 % of the 71 Tflop/s of its data sheet (bf16, dense).
constexpr double kMatrixFlops = 0.65 * 71e12;
constexpr double kAttentionFlops = 0.50 * 71e12;

struct Link {
  const char* name;
  double bytes;    // a second and direction, of one GPU
  double seconds;  // before the first byte
};
constexpr Link kLinks[] = {{"PCIe 3 x16", 11e9, 20e-6},    {"PCIe 4 x16", 22e9, 20e-6},
                           {"NVLink bridge", 45e9, 10e-6}, {"10 GbE", 1.1e9, 60e-6},
                           {"25 GbE", 2.8e9, 60e-6},       {"100 GbE", 11e9, 60e-6}};

struct Preset {
  const char* name;
  Size asked;
};
constexpr Preset kPresets[] = {
    {"720x720_5s", {720, 720}}, {"960x960_5s", {960, 960}}, {"960x960_10s", {960, 960}}};

struct Planned {
  ModelFolder model;
  ClipRequest clip;
  std::map<FusionPiece, std::int64_t> unit_bytes;
};

Planned PlanOf(const Preset& preset) {
  Planned planned;
  planned.model = *OpenModelConfig(absl::StrCat(OVI_SOURCE_DIR "/configs/models/", preset.name));
  JobSpec job;
  job.size = preset.asked;
  planned.clip = *ResolveClip(job, {.text = "rain"}, 0, planned.model, std::nullopt);
  const std::unique_ptr<Backend> backend = MakeDryRunBackend(MakeCpuBackend());
  const std::unique_ptr<Stream> stream = *backend->NewStream();
  Arena arena(*backend->AllocateBlock(std::int64_t{1} << 40));
  const auto source = *ShapesOf(planned.model).open_weights(planned.model.fusion_weights);
  planned.unit_bytes = *MeasureUnits({*backend, *stream, arena}, planned.model.fusion, *source,
                                     Bf16NetworkFormat(PrecisionPolicy::kAsExecuted));
  return planned;
}

std::string Table(bool fsdp) {
  std::string table = "| preset | GPUs | layout | one GPU |";
  for (const Link& link : kLinks) absl::StrAppend(&table, " ", link.name, " |");
  absl::StrAppend(&table, "\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (const Preset& preset : kPresets) {
    const Planned planned = PlanOf(preset);
    for (const int gpus : {2, 4, 8}) {
      const Topology topology{.world_size = gpus, .cfg = 2, .sp = gpus / 2, .fsdp = fsdp};
      const Topology alone;
      const auto time = [&](const Topology& layout, const Link& link) {
        return StepTimeOf({.config = planned.model.fusion,
                           .latent = planned.clip.latent,
                           .two_passes = true,
                           .skip_block = 11,
                           .topology = layout,
                           .unit_bytes = planned.unit_bytes},
                          {.matrix_flops = kMatrixFlops,
                           .attention_flops = kAttentionFlops,
                           .link_bytes = link.bytes,
                           .link_seconds = link.seconds,
                           .overlap = 1})
            .seconds();
      };
      const double one = time(alone, kLinks[0]);
      absl::StrAppendFormat(&table, "| %s | %d | cfg 2 x sp %d%s | %.1f s |", preset.name, gpus, gpus / 2,
                            fsdp ? " + fsdp" : "", one);
      for (const Link& link : kLinks) {
        const double seconds = time(topology, link);
        absl::StrAppendFormat(&table, " %.2f s (%.1fx) |", seconds, one / seconds);
      }
      table += "\n";
    }
  }
  return table;
}

TEST(ScalingDoc, HoldsTheTablesThatTheCodeComputes) {
  const absl::StatusOr<std::string> doc = ReadSmallFile(OVI_SOURCE_DIR "/docs/scaling.md", 1 << 20);
  ASSERT_TRUE(doc.ok()) << doc.status();
  for (const bool fsdp : {false, true}) {
    const std::string table = Table(fsdp);
    EXPECT_NE(doc->find(table), std::string::npos) << "expected in docs/scaling.md:\n" << table;
  }
}

}  // namespace
}  // namespace ovi
