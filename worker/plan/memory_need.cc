#include "worker/plan/memory_need.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "base/status.h"
#include "worker/pipeline/math/resolution.h"

namespace ovi {
namespace {

constexpr double kAspectMax = 4.0;

absl::StatusOr<FrameSize> Snapped(FrameSize asked, const ModelSpec& spec, Mode mode) {
  return mode == Mode::kT2v ? SnapResolution(asked, spec.video_area) : FirstFrameSize(asked, spec.video_area);
}

// What to ask for, so that each of the largest frames the model makes comes out once. Memory grows with the
// number of pixels and with nothing else, so the other sizes need no look.
absl::StatusOr<std::vector<FrameSize>> AsksForLargest(const ModelSpec& spec, Mode mode) {
  // Fine enough to meet every size: of the largest preset's, the rarest covers 0.3 % of aspects.
  constexpr int kAspects = 4096;
  constexpr double kSide = 1 << 14;
  std::map<std::pair<std::int64_t, std::int64_t>, FrameSize> asks;  // by the size made
  std::int64_t pixels_max = 0;
  for (int i = 0; i <= kAspects; ++i) {
    const double root = std::pow(kAspectMax, 0.5 * (2.0 * i / kAspects - 1.0));  // of the aspect
    const FrameSize asked{std::llround(kSide / root), std::llround(kSide * root)};
    OVI_ASSIGN_OR_RETURN(const FrameSize made, Snapped(asked, spec, mode));
    const std::int64_t pixels = made.height * made.width;
    if (pixels < pixels_max || made.height > made.width) continue;  // a turned frame takes as much
    if (pixels > pixels_max) asks.clear();
    pixels_max = pixels;
    asks.emplace(std::pair{made.height, made.width}, asked);
  }
  std::vector<FrameSize> largest;
  for (const auto& [made, asked] : asks) largest.push_back(asked);
  return largest;
}

absl::StatusOr<ClipRequest> LargestClip(const ModelFolder& model, PrecisionPolicy policy, Mode mode,
                                        FrameSize asked) {
  JobSpec job;
  job.mode = mode;
  job.sample_steps = 1;
  job.video_guidance_scale = 2;  // both passes, whose texts are there together
  job.precision = policy == PrecisionPolicy::kReference ? Precision::kReference : Precision::kAsExecuted;
  job.size = Size{static_cast<int>(asked.height), static_cast<int>(asked.width)};
  return ResolveClip(job, {.text = "a"}, 0, model,
                     mode == Mode::kI2v ? std::optional<FrameSize>(asked) : std::nullopt);
}

// Stage by stage the larger of both.
void Cover(MemoryPlan& plan, const MemoryPlan& other) {
  if (plan.stages.empty()) plan.stages = other.stages;
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    if (other.stages[i].bytes > plan.stages[i].bytes) plan.stages[i] = other.stages[i];
  }
  plan.bytes_peak = std::max(plan.bytes_peak, other.bytes_peak);
}

}  // namespace

absl::StatusOr<MemoryPlan> PlanModel(const ModelFolder& model, PrecisionPolicy policy, Mode mode,
                                     const PlannedRank& rank) {
  OVI_ASSIGN_OR_RETURN(const std::vector<FrameSize> asks, AsksForLargest(model.spec, mode));
  MemoryPlan plan;
  for (const FrameSize asked : asks) {
    OVI_ASSIGN_OR_RETURN(const ClipRequest clip, LargestClip(model, policy, mode, asked));
    OVI_ASSIGN_OR_RETURN(const MemoryPlan one, PlanClip(model, clip, rank));
    Cover(plan, one);
  }
  return plan;
}

namespace {

// The fastest of the GPUs and as many of the slowest as make `ranks`; all alike for none.
std::vector<int> FastestBesideSlowest(std::vector<int> shares, int ranks) {
  if (shares.empty()) return std::vector<int>(static_cast<std::size_t>(ranks), 1);
  std::sort(shares.begin(), shares.end());
  std::rotate(shares.begin(), shares.end() - 1, shares.end());
  shares.resize(static_cast<std::size_t>(ranks));
  return shares;
}

// What the first rank of a group can be: with one pass, and with two. A rank takes the more the larger its
// part of the shares is, so of unequal ones the worst choice stands for all.
absl::StatusOr<std::vector<PlannedRank>> FirstRanks(int heads, int ranks, bool fsdp,
                                                    const std::vector<int>& shares) {
  const GpuRequest gpus{.allocation = fsdp ? GpuAllocation::kFsdp : GpuAllocation::kAuto};
  std::vector<PlannedRank> planned;
  const auto add = [&](bool two_passes, const std::vector<int>& of_ranks) -> absl::Status {
    PlannedRank& rank = planned.emplace_back();
    rank.shares = of_ranks;
    OVI_ASSIGN_OR_RETURN(rank.topology, ChooseTopology({.world_size = ranks,
                                                        .gpus = gpus,
                                                        .heads = heads,
                                                        .two_passes = two_passes,
                                                        .shares = of_ranks}));
    return absl::OkStatus();
  };
  OVI_RETURN_IF_ERROR(add(true, {}));
  if (ranks > 1) OVI_RETURN_IF_ERROR(add(false, {}));
  if (ranks == 1 || shares.empty()) return planned;
  OVI_RETURN_IF_ERROR(add(false, FastestBesideSlowest(shares, ranks)));
  if (ranks % 2 != 0) return planned;
  // Halves are equally fast where there are any.
  std::vector<int> halves = FastestBesideSlowest(shares, ranks / 2);
  halves.insert(halves.end(), halves.begin(), halves.end());
  OVI_RETURN_IF_ERROR(add(true, halves));
  return planned;
}

absl::StatusOr<ModelMemoryNeed> NeedOf(const ModelFolder& model, int ranks, bool fsdp,
                                       const std::vector<int>& shares) {
  ModelMemoryNeed need{.world_size = ranks, .fsdp = fsdp};
  OVI_ASSIGN_OR_RETURN(const std::vector<PlannedRank> planned,
                       FirstRanks(static_cast<int>(model.fusion.video.heads), ranks, fsdp, shares));
  for (const PlannedRank& rank : planned) {
    for (const Mode mode : {Mode::kT2v, Mode::kI2v}) {
      OVI_ASSIGN_OR_RETURN(const MemoryPlan executed,
                           PlanModel(model, PrecisionPolicy::kAsExecuted, mode, rank));
      OVI_ASSIGN_OR_RETURN(const MemoryPlan reference,
                           PlanModel(model, PrecisionPolicy::kReference, mode, rank));
      need.as_executed_bytes = std::max(need.as_executed_bytes, executed.bytes_peak);
      need.reference_bytes = std::max(need.reference_bytes, reference.bytes_peak);
    }
  }
  return need;
}

}  // namespace

std::vector<int> WorldSizesOf(int heads, int ranks_max) {
  const std::vector<int> both = LegalWorldSizes(heads, true);
  const std::vector<int> one = LegalWorldSizes(heads, false);
  std::vector<int> sizes;
  std::set_intersection(both.begin(), both.end(), one.begin(), one.end(), std::back_inserter(sizes));
  std::erase_if(sizes, [ranks_max](int size) { return size > ranks_max; });
  return sizes;
}

bool AllGetHeads(int heads, int ranks, const std::vector<int>& shares) {
  if (shares.empty() || ranks == 1) return true;
  std::vector<int> sorted = shares;
  std::sort(sorted.begin(), sorted.end());
  const int slowest = sorted.front();
  // Beside the fastest. Heads are divided to within one of the exact part, so a whole one is enough.
  const std::int64_t sum =
      std::accumulate(sorted.end() - (ranks - 1), sorted.end(), static_cast<std::int64_t>(slowest));
  return heads * static_cast<std::int64_t>(slowest) >= sum;
}

absl::StatusOr<std::vector<ModelMemoryNeed>> MemoryNeedsOf(const ModelFolder& model, int gpus,
                                                           const std::vector<int>& shares) {
  const auto heads = static_cast<int>(model.fusion.video.heads);
  std::vector<ModelMemoryNeed> needs;
  const auto add = [&](int ranks, bool fsdp) -> absl::Status {
    if (!AllGetHeads(heads, ranks, shares)) return absl::OkStatus();
    OVI_ASSIGN_OR_RETURN(needs.emplace_back(), NeedOf(model, ranks, fsdp, shares));
    return absl::OkStatus();
  };
  for (const int ranks : WorldSizesOf(heads, std::max(gpus, 1))) OVI_RETURN_IF_ERROR(add(ranks, false));
  for (int ranks = 2; ranks <= gpus; ++ranks) OVI_RETURN_IF_ERROR(add(ranks, true));
  return needs;
}

}  // namespace ovi
