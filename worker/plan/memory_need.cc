#include "worker/plan/memory_need.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "base/status.h"
#include "worker/model/streamed_weights.h"
#include "worker/model/video_vae_layout.h"
#include "worker/pipeline/math/resolution.h"

namespace ovi {
namespace {

constexpr double kAspectMax = 4.0;

absl::StatusOr<FrameSize> Snapped(FrameSize asked, const ModelSpec& spec, Mode mode) {
  return mode == Mode::kT2v ? SnapResolution(asked, spec.video_area) : FirstFrameSize(asked, spec.video_area);
}

// A frame that the model makes, and what to ask for so that it comes out.
struct Frame {
  FrameSize asked;
  FrameSize made;
};

// Each once.
absl::StatusOr<std::vector<Frame>> FramesOf(const ModelSpec& spec, Mode mode) {
  // Fine enough to meet every size: of the largest preset's, the rarest covers 0.3 % of aspects.
  constexpr int kAspects = 4096;
  constexpr double kSide = 1 << 14;
  std::map<std::pair<std::int64_t, std::int64_t>, Frame> frames;  // by the size made
  for (int i = 0; i <= kAspects; ++i) {
    const double root = std::pow(kAspectMax, 0.5 * (2.0 * i / kAspects - 1.0));  // of the aspect
    const FrameSize asked{std::llround(kSide / root), std::llround(kSide * root)};
    OVI_ASSIGN_OR_RETURN(const FrameSize made, Snapped(asked, spec, mode));
    frames.emplace(std::pair{made.height, made.width}, Frame{asked, made});
  }
  std::vector<Frame> out;
  for (const auto& [size, frame] : frames) out.push_back(frame);
  return out;
}

// All but decoding in parts takes memory by the number of pixels and by nothing else: one of the largest
// stands for all.
Frame MostPixels(const std::vector<Frame>& frames) {
  return *std::max_element(frames.begin(), frames.end(), [](const Frame& a, const Frame& b) {
    return a.made.height * a.made.width < b.made.height * b.made.width;
  });
}

// How a rank decodes pictures.
struct DecodedParts {
  int ranks = 1;
  int rank = 0;
  std::vector<int> shares;
  int strips = 1;

  bool whole() const { return ranks == 1 && strips == 1; }
  auto operator<=>(const DecodedParts&) const = default;
};

DecodedParts PartsOf(const PlannedRank& rank, VramMode vram_mode) {
  const int ranks = rank.topology.world_size;
  DecodedParts parts{.ranks = ranks, .rank = rank.rank, .shares = rank.shares};
  if (parts.shares.empty()) parts.shares.assign(static_cast<std::size_t>(ranks), 1);
  if (ranks == 1) parts.strips = LeastMemoryOf(vram_mode).decode_strips;
  return parts;
}

// Values that the decoder's levels have of the largest part of a frame: rows do not divide evenly, and the
// rows around a part are there too, so of frames with as many pixels the wide ones take more.
std::int64_t DecodedValues(const VideoVaeConfig& config, const FrameSize& frame, const DecodedParts& parts) {
  const std::int64_t rows = frame.height / config.spatial_factor();
  const std::vector<VideoVaeLevel> levels = VideoVaeDecoderLevels(config);
  const auto values = [&](const ShardRange& part) {
    const std::vector<ShardRange> reads = VideoVaeDecoderStripRows(config, rows, part);
    std::int64_t sum = 0;
    std::int64_t scale = 1;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      // A rank gets the rows around its part level by level, from the neighbours that it has.
      const int neighbours = (parts.rank > 0 ? 1 : 0) + (parts.rank + 1 < parts.ranks ? 1 : 0);
      const std::int64_t level_rows = parts.ranks == 1 ? reads[i].size() : part.size() * scale + neighbours;
      sum += level_rows * frame.width / config.spatial_factor() * scale * levels[i].out_channels;
      scale *= levels[i].space_factor();
    }
    return sum;
  };
  if (parts.ranks > 1) return values(Shard(rows, parts.shares)[static_cast<std::size_t>(parts.rank)]);
  std::int64_t most = 0;
  for (const ShardRange& strip : Shard(rows, parts.strips)) most = std::max(most, values(strip));
  return most;
}

Frame LargestPart(const VideoVaeConfig& config, const std::vector<Frame>& frames, const DecodedParts& parts) {
  return *std::max_element(frames.begin(), frames.end(), [&](const Frame& a, const Frame& b) {
    return DecodedValues(config, a.made, parts) < DecodedValues(config, b.made, parts);
  });
}

// Which clips to plan.
struct ClipKind {
  PrecisionPolicy policy = PrecisionPolicy::kAsExecuted;
  Mode mode = Mode::kT2v;
  VramMode vram_mode = VramMode::kStandard;
  std::int64_t low_rank = 0;  // of the low-rank form; 0 = matrices as the mode has them

  MemoryLayout memory() const { return LeastMemoryOf(vram_mode, low_rank); }
};

absl::StatusOr<MemoryPlan> PlanFrame(const ModelFolder& model, const ClipKind& kind, const Frame& frame,
                                     const PlannedRank& rank) {
  JobSpec job;
  job.mode = kind.mode;
  job.sample_steps = 1;
  job.video_guidance_scale = 2;  // both passes, whose texts are there together
  job.precision = kind.policy == PrecisionPolicy::kReference ? Precision::kReference : Precision::kAsExecuted;
  job.vram_mode = kind.vram_mode;
  job.size = Size{static_cast<int>(frame.asked.height), static_cast<int>(frame.asked.width)};
  OVI_ASSIGN_OR_RETURN(
      ClipRequest clip,
      ResolveClip(job, {.text = "a"}, 0, model,
                  kind.mode == Mode::kI2v ? std::optional<FrameSize>(frame.asked) : std::nullopt));
  // What SettleClip leaves to streamed weights without a limit is below the peak that there is anyway.
  clip.memory = kind.memory();
  return PlanClip(model, clip, rank);
}

}  // namespace

absl::StatusOr<MemoryPlan> PlanModel(const ModelFolder& model, PrecisionPolicy policy, Mode mode,
                                     const PlannedRank& rank, VramMode vram_mode) {
  const ClipKind kind{.policy = policy, .mode = mode, .vram_mode = vram_mode};
  OVI_ASSIGN_OR_RETURN(const std::vector<Frame> frames, FramesOf(model.spec, mode));
  OVI_ASSIGN_OR_RETURN(MemoryPlan plan, PlanFrame(model, kind, MostPixels(frames), rank));
  const DecodedParts parts = PartsOf(rank, vram_mode);
  if (parts.whole()) return plan;
  OVI_ASSIGN_OR_RETURN(const MemoryPlan decoded,
                       PlanFrame(model, kind, LargestPart(model.video_vae, frames, parts), rank));
  Cover(plan, decoded);
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
    PlannedRank rank;
    rank.shares = of_ranks;
    OVI_ASSIGN_OR_RETURN(rank.topology, ChooseTopology({.world_size = ranks,
                                                        .gpus = gpus,
                                                        .heads = heads,
                                                        .two_passes = two_passes,
                                                        .shares = of_ranks}));
    const auto is_alike = [&rank](const PlannedRank& other) {
      return other.topology.cfg == rank.topology.cfg && other.topology.sp == rank.topology.sp &&
             other.shares == rank.shares;
    };
    if (std::none_of(planned.begin(), planned.end(), is_alike)) planned.push_back(std::move(rank));
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

// That a rank takes at most in each stage.
struct StagePeaks {
  std::int64_t encode = 0;
  std::int64_t denoise = 0;
  std::int64_t decode = 0;

  std::int64_t most() const { return std::max({encode, denoise, decode}); }
};

// PlanModel's peaks, for many kinds of groups.
class NeedPlanner {
 public:
  static absl::StatusOr<NeedPlanner> Make(const ModelFolder& model, std::int64_t low_rank) {
    NeedPlanner planner(model, low_rank);
    OVI_ASSIGN_OR_RETURN(planner.frames_[Mode::kT2v], FramesOf(model.spec, Mode::kT2v));
    OVI_ASSIGN_OR_RETURN(planner.frames_[Mode::kI2v], FramesOf(model.spec, Mode::kI2v));
    return planner;
  }

  // Of the one of these ranks, and of t2v and i2v, that takes most.
  absl::StatusOr<StagePeaks> PeaksOf(PrecisionPolicy policy, VramMode vram_mode,
                                     const std::vector<PlannedRank>& ranks) {
    StagePeaks peaks;
    for (const PlannedRank& rank : ranks) {
      for (const auto& [mode, frames] : frames_) {
        const ClipKind kind{.policy = policy, .mode = mode, .vram_mode = vram_mode};
        OVI_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanFrame(model_, kind, MostPixels(frames), rank));
        OVI_ASSIGN_OR_RETURN(const std::int64_t decoded, DecodedBytes(kind, rank));
        peaks.encode = std::max(peaks.encode, PlannedBytes(plan, Stage::kEncode));
        peaks.denoise = std::max(peaks.denoise, PlannedBytes(plan, Stage::kDenoise));
        peaks.decode = std::max({peaks.decode, PlannedBytes(plan, Stage::kDecode), decoded});
        if (rank.topology.world_size < 3) continue;
        OVI_ASSIGN_OR_RETURN(const std::int64_t in_the_middle, DecodedBytes(kind, InTheMiddle(rank)));
        peaks.decode = std::max(peaks.decode, in_the_middle);
      }
    }
    return peaks;
  }

  // That denoising takes at most with weights in the low-rank form, which no other stage knows.
  absl::StatusOr<std::int64_t> LowRankDenoise(VramMode vram_mode, const std::vector<PlannedRank>& ranks) {
    std::int64_t bytes = 0;
    for (const PlannedRank& rank : ranks) {
      for (const auto& [mode, frames] : frames_) {
        const ClipKind kind{.mode = mode, .vram_mode = vram_mode, .low_rank = low_rank_};
        OVI_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanFrame(model_, kind, MostPixels(frames), rank));
        bytes = std::max(bytes, PlannedBytes(plan, Stage::kDenoise));
      }
    }
    return bytes;
  }

  // What denoising in a mode that streams adds to its least when all weights are on the device.
  absl::StatusOr<std::int64_t> BytesStreamed(const MemoryLayout& memory) {
    const NumberFormat format = ClipRequest{.memory = memory}.fusion_format();
    OVI_ASSIGN_OR_RETURN(const auto bytes, UnitBytesOf(model_, format));
    constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
    return PlanStreaming(model_.fusion, bytes, kNoLimit).device_bytes -
           PlanStreaming(model_.fusion, bytes, 0).device_bytes;
  }

  std::int64_t low_rank() const { return low_rank_; }

 private:
  NeedPlanner(const ModelFolder& model, std::int64_t low_rank) : model_(model), low_rank_(low_rank) {}

  // The first rank's part of the work on the second: that one has no frames to gather, but neighbours on both
  // sides, whose rows can be more.
  static PlannedRank InTheMiddle(PlannedRank rank) {
    rank.rank = 1;
    if (!rank.shares.empty()) std::swap(rank.shares[0], rank.shares[1]);
    return rank;
  }

  // That a picture decoded in parts takes at most; 0 where it is decoded whole. Neither the layout of the
  // transformer nor whether its weights are shared matters, so what was found once holds for all of those.
  absl::StatusOr<std::int64_t> DecodedBytes(const ClipKind& kind, const PlannedRank& rank) {
    const DecodedParts parts = PartsOf(rank, kind.vram_mode);
    if (parts.whole()) return std::int64_t{0};
    const Frame largest = LargestPart(model_.video_vae, frames_.at(kind.mode), parts);
    const auto key = std::tuple(kind.policy, largest.made.height, largest.made.width, parts);
    const auto found = decoded_.find(key);
    if (found != decoded_.end()) return found->second;
    OVI_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanFrame(model_, kind, largest, rank));
    return decoded_[key] = PlannedBytes(plan, Stage::kDecode);
  }

  const ModelFolder& model_;
  const std::int64_t low_rank_;
  std::map<Mode, std::vector<Frame>> frames_;
  std::map<std::tuple<PrecisionPolicy, std::int64_t, std::int64_t, DecodedParts>, std::int64_t> decoded_;
};

// One for each mode of such a group.
absl::Status AddNeeds(NeedPlanner& planner, const std::vector<PlannedRank>& ranks,
                      std::vector<ModelMemoryNeed>& needs) {
  const Topology& topology = ranks.front().topology;
  std::map<VramMode, StagePeaks> executed;
  std::map<bool, std::int64_t> low_rank_denoise;  // modes differ in whether weights stream
  for (const VramMode mode : kModesByQuality) {   // fp8 before fp8_offload
    ModelMemoryNeed need{.world_size = topology.world_size, .fsdp = topology.fsdp, .vram_mode = mode};
    // Shared weights come from the other ranks, not from the host.
    if (mode == VramMode::kFp8Offload && topology.fsdp) {
      executed[mode] = executed[VramMode::kFp8];
    } else {
      OVI_ASSIGN_OR_RETURN(executed[mode], planner.PeaksOf(PrecisionPolicy::kAsExecuted, mode, ranks));
    }
    if (mode == VramMode::kStandard) {
      OVI_ASSIGN_OR_RETURN(const StagePeaks reference,
                           planner.PeaksOf(PrecisionPolicy::kReference, mode, ranks));
      need.reference_bytes = reference.most();
    }
    const bool streams = LeastMemoryOf(mode).streamed && !topology.fsdp;
    if (!low_rank_denoise.contains(streams)) {
      OVI_ASSIGN_OR_RETURN(low_rank_denoise[streams], planner.LowRankDenoise(mode, ranks));
    }
    StagePeaks low_rank = executed[mode];
    low_rank.denoise = low_rank_denoise[streams];

    need.as_executed_bytes = need.as_executed_bytes_useful = executed[mode].most();
    need.low_rank_bytes = need.low_rank_bytes_useful = low_rank.most();
    if (streams) {
      OVI_ASSIGN_OR_RETURN(const std::int64_t more, planner.BytesStreamed(LeastMemoryOf(mode)));
      need.as_executed_bytes_useful = std::max(need.as_executed_bytes, executed[mode].denoise + more);
      OVI_ASSIGN_OR_RETURN(const std::int64_t more_low_rank,
                           planner.BytesStreamed(LeastMemoryOf(mode, planner.low_rank())));
      need.low_rank_bytes_useful = std::max(need.low_rank_bytes, low_rank.denoise + more_low_rank);
    }
    needs.push_back(need);
  }
  return absl::OkStatus();
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
                                                           const std::vector<int>& shares,
                                                           std::int64_t low_rank) {
  const auto heads = static_cast<int>(model.fusion.video.heads);
  OVI_ASSIGN_OR_RETURN(NeedPlanner planner, NeedPlanner::Make(model, low_rank));
  std::vector<ModelMemoryNeed> needs;
  const auto add = [&](int ranks, bool fsdp) -> absl::Status {
    if (!AllGetHeads(heads, ranks, shares)) return absl::OkStatus();
    OVI_ASSIGN_OR_RETURN(const std::vector<PlannedRank> planned, FirstRanks(heads, ranks, fsdp, shares));
    return AddNeeds(planner, planned, needs);
  };
  for (const int ranks : WorldSizesOf(heads, std::max(gpus, 1))) OVI_RETURN_IF_ERROR(add(ranks, false));
  for (int ranks = 2; ranks <= gpus; ++ranks) OVI_RETURN_IF_ERROR(add(ranks, true));
  return needs;
}

}  // namespace ovi
