// What enable_lora without adapters takes: the transformer's weights in the low-rank form.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/quantised_cache.h"

namespace ovi {

// The path of the file: the model's own where it has the form, else the one in `cache_dir`. One that is not
// there is made where two cores take less than a minute for it; `progress` as in EnsureQuantised.
// FAILED_PRECONDITION, with the command that makes it, where they take longer.
absl::StatusOr<std::string> FindLowRankWeights(const ModelFolder& model, const std::string& cache_dir,
                                               const QuantiseProgress& progress);

}  // namespace ovi
