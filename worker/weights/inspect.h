// What `ovi-worker inspect FILE` prints about a weight file.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace ovi {

// Text: one line a tensor (name, dtype, shape, bytes), then totals by dtype, then the metadata. JSON: one
// object with path, tensor_count, bytes, tensors [{name, dtype, shape [..], bytes}] and metadata {..}. Ends
// in a newline. Errors as OpenWeights.
absl::StatusOr<std::string> InspectWeights(const std::string& path, bool json);

}  // namespace ovi
