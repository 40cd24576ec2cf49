// What one clip takes of a device and of the host, found by running its own allocations without computing
// (kernels/dry_run_backend.h): the figures are those of a real run, not estimates. From the model's
// configuration alone. Pure but for memory and time: about half a second for the original.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/arena.h"
#include "worker/model/fusion_weights.h"
#include "worker/model/runtime.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/topology.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/pipeline/progress.h"

namespace ovi {

// Arena bytes that a stage takes at most, and what they are made of then.
struct StageNeed {
  Stage stage = Stage::kEncode;
  std::int64_t bytes = 0;
  BytesByUse by_use{};
};

struct MemoryPlan {
  std::vector<StageNeed> stages;  // encode, denoise, decode
  // The most of a stage, since no two stages' memory adds up: an arena of so many bytes is enough.
  std::int64_t bytes_peak = 0;
  // On the host, beside what any process has: streamed weights (one copy a node, which the system keeps as
  // long as it has room) and, decoded in strips, the clip.
  std::int64_t host_bytes = 0;
  CommunicatorCounts sent;  // to other ranks, over the whole clip
};

// Of a stage; 0 where the plan does not have it.
std::int64_t PlannedBytes(const MemoryPlan& plan, Stage stage);

// The larger of both, stage by stage.
void Cover(MemoryPlan& plan, const MemoryPlan& other);

// A rank of a group; alone unless said otherwise.
struct PlannedRank {
  Topology topology;
  int rank = 0;
  std::vector<int> shares;  // of all ranks (topology.h); empty = all alike
};

// What a plan takes prompts to be: as long as they can be, or as they are, for which it reads the model's
// tokenizer.
enum class PlannedPrompts { kLongest, kAsWritten };

// The clip as its memory layout says. Exact for a device of this machine's kind (the CPU). Errors are those
// of Engine::Generate.
absl::StatusOr<MemoryPlan> PlanClip(const ModelFolder& model, const ClipRequest& clip,
                                    const PlannedRank& rank = {},
                                    PlannedPrompts prompts = PlannedPrompts::kLongest);

// Bytes of each kind of the transformer's units on the device.
absl::StatusOr<std::map<FusionPiece, std::int64_t>> UnitBytesOf(const ModelFolder& model,
                                                                NumberFormat format);

struct SettledClip {
  ClipRequest clip;  // with its vram_mode chosen and its memory layout settled
  MemoryPlan plan;   // of the rank that takes most
};

// Chooses what a plan has to choose: the mode where it is auto (standard if it fits, else the one of the
// others that is nearest to it and fits, or the fastest where weights are in the low-rank form anyway), how
// many weights stay on the device, and in how many strips the picture is decoded: everything that `bytes_max`
// has room for, and no less than the mode needs. Without a limit (0), streamed weights get what the decoder
// takes anyway. All ranks of a group that ask with the same arguments get the same clip; `rank.rank` does not
// matter.
//
// RESOURCE_EXHAUSTED where nothing fits: what the mode takes, and the modes that would fit or take least.
absl::StatusOr<SettledClip> SettleClip(const ModelFolder& model, const ClipRequest& clip,
                                       const PlannedRank& rank, std::int64_t bytes_max);

// The same for the clip's own mode, which is not auto. Where it does not fit, the least that it takes.
absl::StatusOr<SettledClip> SettleMode(const ModelFolder& model, ClipRequest clip, const PlannedRank& rank,
                                       std::int64_t bytes_max);

}  // namespace ovi
