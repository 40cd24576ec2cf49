// In which form a model's own transformer file has its matrices.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/weight_source.h"

namespace ovi {

bool IsLowRank(const WeightSource& source);

// What ResolveClip is to be told: the rank of the model's own file where that has the form, else that of the
// cache folder's, kDefaultRank. INVALID_ARGUMENT for a file that has the form and no rank in its metadata.
absl::StatusOr<std::int64_t> LowRankOf(const ModelFolder& model);

}  // namespace ovi
