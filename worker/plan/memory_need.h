// What a model takes on a device, whatever the clip: by clip plans (clip_plan.h) of its largest ones.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/model/runtime.h"
#include "worker/pipeline/model_folder.h"
#include "worker/plan/clip_plan.h"

namespace ovi {

// Enough for every clip of the model in these modes and precision whose sides are at most 4 to 1, whatever
// its prompts say. More elongated ones can take up to a third more: sides are whole tokens, and a thin side
// is rounded by a large part of itself. Its peak is the one that SettleClip finds without a limit.
absl::StatusOr<MemoryPlan> PlanModel(const ModelFolder& model, PrecisionPolicy policy, Mode mode,
                                     const PlannedRank& rank = {}, VramMode vram_mode = VramMode::kStandard);

// Enough for t2v and i2v on each rank of a group: ovi.v1.MemoryNeed without
// the proto.
struct ModelMemoryNeed {
  int world_size = 1;
  bool fsdp = false;
  VramMode vram_mode = VramMode::kStandard;  // never kAuto
  std::int64_t as_executed_bytes = 0;
  std::int64_t reference_bytes = 0;  // of kStandard, else 0: there is no such clip
  std::int64_t low_rank_bytes = 0;   // with weights in the low-rank form
  // Beyond which a rank has no use for more: whatever streams is on the device then.
  std::int64_t as_executed_bytes_useful = 0;
  std::int64_t low_rank_bytes_useful = 0;
};

// Numbers of ranks that can make any clip of a model with so many heads without fsdp, whether it has two
// passes or one; up to `ranks_max`, ascending.
std::vector<int> WorldSizesOf(int heads, int ranks_max);

// Whether any `ranks` of GPUs with these shares (topology.h; empty = all alike) each get a head at least.
bool AllGetHeads(int heads, int ranks, const std::vector<int>& shares);

// On a node with `gpus` GPUs of these shares, one each, or none where all are alike. Alone, then each of
// those sizes up to `gpus`, then every size from 2 to `gpus` with fsdp; of each standard, fp8, fp8_offload
// and ultra_low. With unequal shares without the sizes where the slowest GPU would get no head, and each
// figure is that of the fastest GPU beside the slowest ones, which is enough for whichever of the GPUs are
// chosen. `low_rank`: of the low-rank form (weights_form.h). With 4 GPUs, some 20 CPU-seconds for the
// original.
absl::StatusOr<std::vector<ModelMemoryNeed>> MemoryNeedsOf(const ModelFolder& model, int gpus,
                                                           const std::vector<int>& shares = {},
                                                           std::int64_t low_rank = kDefaultRank);

}  // namespace ovi
