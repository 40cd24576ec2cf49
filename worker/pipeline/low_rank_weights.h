// What enable_lora without adapters takes: the transformer's weights in the low-rank form.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/quantised_cache.h"

namespace ovi {

// What ResolveClip is to be told: the rank of the model's own file where that has the form, else that of the
// cache folder's, kDefaultRank. INVALID_ARGUMENT for a file that has the form and no rank in its metadata.
absl::StatusOr<std::int64_t> LowRankOf(const ModelFolder& model);

// The path of the file: the model's own where it has the form, else the one in `cache_dir`. One that is not
// there is made where two cores take less than a minute for it; `progress` as in EnsureQuantised.
// FAILED_PRECONDITION, with the command that makes it, where they take longer.
absl::StatusOr<std::string> FindLowRankWeights(const ModelFolder& model, const std::string& cache_dir,
                                               const QuantiseProgress& progress);

}  // namespace ovi
