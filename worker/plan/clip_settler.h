// SettleClip for one model and one limit, which remembers what it found: clips that take alike are planned
// once.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/plan/clip_plan.h"

namespace ovi {

// Thread-compatible. Borrows the model.
class ClipSettler {
 public:
  ClipSettler(const ModelFolder& model, std::int64_t bytes_max) : model_(model), bytes_max_(bytes_max) {}

  // As SettleClip, within the limit and `clip_bytes_max`, a clip's own (0 = it has none). A failure is not
  // remembered.
  absl::StatusOr<SettledClip> Settle(const ClipRequest& clip, const PlannedRank& rank = {},
                                     std::int64_t clip_bytes_max = 0);

 private:
  struct Found {
    VramMode vram_mode = VramMode::kAuto;
    MemoryLayout memory;
    MemoryPlan plan;
  };

  const ModelFolder& model_;
  std::int64_t bytes_max_;
  std::map<std::string, Found> found_;  // by what memory depends on
};

}  // namespace ovi
