// What fits on a card: a clip planned in several modes and on several GPUs, and which of these to take. Pure
// but for time: about a second a row for the original (clip_plan.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/parallel/topology.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/plan/clip_plan.h"
#include "worker/plan/clip_time.h"
#include "worker/plan/gpu_model.h"

namespace ovi {

struct PlanTableRequest {
  const ModelFolder& model;
  const ClipRequest& clip;        // as ResolveClip makes it
  GpuRequest gpus;                // of the job
  std::int64_t gpu_bytes = 0;     // memory of a card; all cards are alike
  std::int64_t bytes_max = 0;     // that the job may take of it; 0 = all that plans leave it
  const GpuModel* gpu = nullptr;  // for times; null where only the memory is known
  bool all = false;               // every mode on 1, 2, 4 and 8 GPUs
  // So many rows are planned; its error ends the planning and is returned. May be empty.
  std::function<absl::Status(int rows)> on_progress;
};

struct PlanRow {
  VramMode vram_mode = VramMode::kStandard;
  GpuRequest gpus;
  Topology topology;
  ClipRequest clip;  // settled for what a job may take of a card; where it does not fit, the least it takes
  MemoryPlan plan;   // of the rank that takes most
  // What there must be at least. A mode that streams weights keeps more of them where there is more.
  std::int64_t bytes_needed = 0;
  bool fits = false;
  std::optional<ClipTime> time;  // where it fits and the card is known; predicted, not measured
};

struct PlanTable {
  std::int64_t bytes_max = 0;  // what a job may take of a card
  std::vector<PlanRow> rows;
  std::size_t own = 0;  // of `rows`, what the job asks for; of what it leaves open, the best that fits
  std::optional<std::size_t> recommended;  // none where nothing fits
  std::string reason;                      // of that, one sentence
};

// Without `all`: every mode on the GPUs that the job asks for (one where it leaves that open), and the
// recommended row. Recommended is, on those GPUs, the first of kModesByQuality that fits; where none does,
// the same on the fewest GPUs that have one. INVALID_ARGUMENT for GPUs that cannot share the clip.
absl::StatusOr<PlanTable> MakePlanTable(const PlanTableRequest& request);

}  // namespace ovi
