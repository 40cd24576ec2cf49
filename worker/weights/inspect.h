// What `ovi-worker inspect FILE` prints about a weight file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/check_tensors.h"

namespace ovi {

// Text: one line a tensor (name, dtype, shape, bytes), then totals by dtype, then the metadata, then what
// kind of adapter it is, if it is one. JSON: one object with path, tensor_count, bytes, tensors [{name,
// dtype, shape [..], bytes}], metadata {..} and for an adapter `adapter` {pairs, ranks [..], differences}.
// A quantised matrix is "F8_E4M3 scaled" or "I8 scaled" (JSON: scaled true); its bytes are without those of
// its scales. A compressed one is "4 bit + rank 128" (JSON: F32, which it expands to, and compressed_rank).
// Ends in a newline.
//
// With a `model` (not null), an adapter is also held against it: how many of its tensors would be used, how
// many of the model's changed, and which are without effect (JSON: adapter.match), or why it does not fit
// (adapter.error).
//
// Errors as OpenWeights.
absl::StatusOr<std::string> InspectWeights(const std::string& path, bool json,
                                           const std::vector<TensorSpec>* model = nullptr);

}  // namespace ovi
