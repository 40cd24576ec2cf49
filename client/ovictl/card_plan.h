// What of a job fits on a card, planned here and without a coordinator.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/pipeline/clip_request.h"
#include "worker/plan/gpu_model.h"
#include "worker/plan/plan_table.h"

namespace ovi::client {

// A card by name, by its memory or both: what is said of the memory then goes before the list.
struct CardChoice {
  std::string gpu;              // words of a name in configs/gpus.yaml; "" for none
  std::int64_t gpu_memory = 0;  // bytes; 0 for what the list says

  bool given() const { return !gpu.empty() || gpu_memory > 0; }
};

struct CardPlan {
  std::string model;
  ClipRequest clip;  // as the job asks for it
  std::int64_t frames = 0;
  std::optional<GpuModel> gpu;  // none where only its memory is known
  std::int64_t gpu_bytes = 0;
  ovi::PlanTable table;

  const PlanRow& own() const { return table.rows[table.own]; }
  // The recommended row, or where nothing fits the job's own.
  const PlanRow& chosen() const { return table.rows[table.recommended.value_or(table.own)]; }
};

// The first of the job's clips. INVALID_ARGUMENT for whatever is wrong with job, model or card; errors of
// `on_progress` (plan_table.h).
absl::StatusOr<CardPlan> PlanForCard(const JobSpec& job, const CardChoice& card, bool all,
                                     const std::function<absl::Status(int rows)>& on_progress);

}  // namespace ovi::client
