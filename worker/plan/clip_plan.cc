#include "worker/plan/clip_plan.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/format.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/dry_run_backend.h"
#include "worker/model/streamed_weights.h"
#include "worker/model/unit_buffer.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/rank_group.h"
#include "worker/plan/dry_run_communicator.h"
#include "worker/plan/shape_weights.h"

namespace ovi {
namespace {

// Addresses, not memory: more than any clip takes.
constexpr std::int64_t kArenaBytes = std::int64_t{1} << 38;

class NoSink final : public ClipSink {
 public:
  absl::Status Begin(const ClipInfo&, std::span<const float>) override { return absl::OkStatus(); }
  absl::Status AddFrames(std::span<const std::uint8_t>) override { return absl::OkStatus(); }
  absl::Status Finish() override { return absl::OkStatus(); }
};

// Of the transformer's two buffers at least: what `weight_bytes_max` must cover.
absl::StatusOr<std::int64_t> LeastWeightBytes(const ModelFolder& model, const ClipRequest& clip) {
  OVI_ASSIGN_OR_RETURN(const auto bytes, UnitBytesOf(model, clip.fusion_format()));
  return PlanStreaming(model.fusion, bytes, 0).device_bytes;
}

// Of the ranks of a group that can take most, stage by stage: the first, which gathers the frames; the second
// of more than two, whose rows have neighbours on both sides; and the one with the largest share.
absl::StatusOr<MemoryPlan> PlanLargest(const ModelFolder& model, const ClipRequest& clip, PlannedRank rank) {
  std::set<int> ranks = {0};
  if (rank.topology.world_size > 2) ranks.insert(1);
  if (!rank.shares.empty()) {
    const auto largest = std::max_element(rank.shares.begin(), rank.shares.end());
    ranks.insert(static_cast<int>(largest - rank.shares.begin()));
  }
  std::optional<MemoryPlan> plan;
  for (const int index : ranks) {
    rank.rank = index;
    OVI_ASSIGN_OR_RETURN(MemoryPlan one, PlanClip(model, clip, rank));
    if (plan) {
      Cover(*plan, one);
    } else {
      plan = std::move(one);
    }
  }
  return *std::move(plan);
}

std::vector<VramMode> ModesOf(const ClipRequest& clip) {
  if (clip.policy == PrecisionPolicy::kReference) return {VramMode::kStandard};
  if (clip.vram_mode != VramMode::kAuto) return {clip.vram_mode};
  if (clip.memory.block_matrices.low_rank > 0) return {kModesOfLowRank.begin(), kModesOfLowRank.end()};
  return {kModesByQuality.begin(), kModesByQuality.end()};
}

// "vram_mode standard takes 23.0 GiB on each GPU, of which 12.0 GiB are there; fp8_offload (6.8 GiB) and
// ultra_low (3.6 GiB) fit".
absl::StatusOr<std::string> DescribeMisfit(const ModelFolder& model, const ClipRequest& clip,
                                           const PlannedRank& rank, std::int64_t bytes_max,
                                           const SettledClip& asked) {
  std::string fits, least;
  std::int64_t least_bytes = asked.plan.bytes_peak;
  for (const VramMode mode : kModesByQuality) {
    if (mode == asked.clip.vram_mode || clip.policy == PrecisionPolicy::kReference) continue;
    ClipRequest other = clip;
    other.vram_mode = mode;
    OVI_ASSIGN_OR_RETURN(const SettledClip settled, SettleMode(model, other, rank, bytes_max));
    const std::string words = absl::StrCat(ToString(mode), " (", FormatBytes(settled.plan.bytes_peak), ")");
    if (settled.plan.bytes_peak <= bytes_max) absl::StrAppend(&fits, fits.empty() ? "" : ", ", words);
    if (settled.plan.bytes_peak >= least_bytes) continue;
    least_bytes = settled.plan.bytes_peak;
    least = words;
  }
  return absl::StrCat("vram_mode ", ToString(asked.clip.vram_mode), " takes ",
                      FormatBytes(asked.plan.bytes_peak),
                      " on each GPU (bytes_needed=", asked.plan.bytes_peak, "), of which ",
                      FormatBytes(bytes_max), " are there (bytes_max=", bytes_max, "); ",
                      !fits.empty()    ? absl::StrCat("these would fit: ", fits)
                      : !least.empty() ? absl::StrCat("the least is taken by ", least)
                                       : "no mode takes less");
}

}  // namespace

std::int64_t PlannedBytes(const MemoryPlan& plan, Stage stage) {
  for (const StageNeed& need : plan.stages) {
    if (need.stage == stage) return need.bytes;
  }
  return 0;
}

void Cover(MemoryPlan& plan, const MemoryPlan& other) {
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    if (other.stages[i].bytes > plan.stages[i].bytes) plan.stages[i] = other.stages[i];
  }
  plan.bytes_peak = std::max(plan.bytes_peak, other.bytes_peak);
  plan.host_bytes = std::max(plan.host_bytes, other.host_bytes);
}

absl::StatusOr<MemoryPlan> PlanClip(const ModelFolder& model, const ClipRequest& clip,
                                    const PlannedRank& rank, PlannedPrompts prompts) {
  MemoryPlan plan;
  const std::unique_ptr<Backend> backend = MakeDryRunBackend(MakeCpuBackend());
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                       Engine::Create(*backend, kArenaBytes, model, ShapesOf(model, &plan.host_bytes)));
  ClipInputs inputs;
  if (prompts == PlannedPrompts::kLongest) inputs.assumed_prompt_tokens = model.text.text_len;
  if (clip.image_to_video) {
    inputs.image.resize(static_cast<std::size_t>(3 * clip.size.height * clip.size.width));
  }
  // Of any values: drawing noise takes a fifth of a plan's time.
  inputs.noise =
      Latents{.video = std::vector<float>(static_cast<std::size_t>(clip.latent.video().elements())),
              .audio = std::vector<float>(static_cast<std::size_t>(clip.latent.audio().elements()))};
  NoSink sink;
  const int ranks = rank.topology.world_size;
  const std::unique_ptr<Communicator> world = MakeDryRunCommunicator(rank.rank, ranks, &plan.sent);
  std::unique_ptr<RankGroup> group;
  if (ranks > 1) {
    OVI_ASSIGN_OR_RETURN(group, RankGroup::Make(*world, rank.topology, rank.shares));
  }
  OVI_ASSIGN_OR_RETURN(const ClipReport report, rank.rank == 0
                                                    ? engine->Generate(clip, inputs, {}, sink, group.get())
                                                    : engine->Assist(clip, inputs, {}, *group));
  for (const StageReport& stage : report.stages) {
    plan.stages.push_back({stage.stage, stage.arena_bytes_peak, stage.peak_by_use});
    plan.bytes_peak = std::max(plan.bytes_peak, stage.arena_bytes_peak);
  }
  if (ranks == 1 && clip.memory.decode_strips > 1) {
    plan.host_bytes += model.frames() * clip.size.height * clip.size.width * 3;
  }
  return plan;
}

absl::StatusOr<std::map<FusionPiece, std::int64_t>> UnitBytesOf(const ModelFolder& model,
                                                                NumberFormat format) {
  const std::unique_ptr<Backend> backend = MakeDryRunBackend(MakeCpuBackend());
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, backend->AllocateBlock(kArenaBytes));
  Arena arena(std::move(block));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, backend->NewStream());
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source,
                       ShapesOf(model).open_weights(model.fusion_weights));
  return MeasureUnits({*backend, *stream, arena}, model.fusion, *source, format);
}

absl::StatusOr<SettledClip> SettleMode(const ModelFolder& model, ClipRequest clip, const PlannedRank& rank,
                                       std::int64_t bytes_max) {
  clip.memory = LeastMemoryOf(clip.vram_mode, clip.memory.block_matrices.low_rank);
  const bool alone = rank.topology.world_size == 1;
  const bool streams = clip.memory.streamed && !rank.topology.fsdp;
  OVI_ASSIGN_OR_RETURN(MemoryPlan plan, PlanLargest(model, clip, rank));
  // Strips cost time, so there are no more of them than the limit asks for.
  if (alone && clip.memory.decode_strips == 1 && bytes_max > 0) {
    while (PlannedBytes(plan, Stage::kDecode) > bytes_max && clip.memory.decode_strips < kDecodeStripsMax) {
      ++clip.memory.decode_strips;
      OVI_ASSIGN_OR_RETURN(plan, PlanLargest(model, clip, rank));
    }
  }
  if (!streams || (bytes_max > 0 && plan.bytes_peak > bytes_max)) return SettledClip{clip, plan};
  const std::int64_t denoise = PlannedBytes(plan, Stage::kDenoise);
  const std::int64_t room = (bytes_max > 0 ? bytes_max : plan.bytes_peak) - denoise;
  OVI_ASSIGN_OR_RETURN(const std::int64_t least, LeastWeightBytes(model, clip));
  clip.memory.weight_bytes_max = least + room;
  OVI_ASSIGN_OR_RETURN(plan, PlanLargest(model, clip, rank));
  return SettledClip{clip, plan};
}

absl::StatusOr<SettledClip> SettleClip(const ModelFolder& model, const ClipRequest& clip,
                                       const PlannedRank& rank, std::int64_t bytes_max) {
  std::optional<SettledClip> first;
  for (const VramMode mode : ModesOf(clip)) {
    ClipRequest of_mode = clip;
    of_mode.vram_mode = mode;
    OVI_ASSIGN_OR_RETURN(SettledClip settled, SettleMode(model, std::move(of_mode), rank, bytes_max));
    if (bytes_max == 0 || settled.plan.bytes_peak <= bytes_max) return settled;
    if (!first) first = std::move(settled);
  }
  OVI_ASSIGN_OR_RETURN(const std::string words, DescribeMisfit(model, clip, rank, bytes_max, *first));
  return absl::ResourceExhaustedError(words);
}

}  // namespace ovi
