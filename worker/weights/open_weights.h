// Opens a weight file of any supported format: safetensors, torch zip, legacy torch stream.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/weights/tensor_table.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// Maps the file and reads its table; tensor data is paged in when it is used. The content says which format
// it is, not the name. Scales of quantised matrices are with their matrices (row_scales.h), compressed ones
// are whole (compressed_source.h). NOT_FOUND for a missing file; INVALID_ARGUMENT for what is no regular file
// or no valid weight file.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeights(const std::string& path);

// The same from memory. `file.path` is what errors call it.
absl::StatusOr<std::unique_ptr<WeightSource>> ParseWeights(WeightBytes file);

}  // namespace ovi
