// umT5 encoder: token ids to text states. Its layers stream through: one layer's weights are resident at a
// time, so the 11 GB of the real encoder cost 0.4 GB of device memory.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/config.h"
#include "worker/model/params.h"
#include "worker/model/runtime.h"
#include "worker/weights/check_tensors.h"

namespace ovi {

// Every tensor of the encoder's checkpoint (242 of them for the real configuration).
std::vector<TensorSpec> TextTensors(const TextConfig& config);

// Bucket of key position minus query position: half of the buckets a direction, exact up to a quarter of
// them, then logarithmic up to max_distance.
std::int64_t RelativeBucket(std::int64_t key_minus_query, std::int64_t buckets, std::int64_t max_distance);

// States of one prompt: (tokens, dim) f32 on the host, in row-major order.
struct TextStates {
  std::int64_t tokens = 0;
  std::int64_t dim = 0;
  std::vector<float> values;

  HostTensor view() const { return {values.data(), DType::kF32, {tokens, dim}}; }
};

// Encodes each list of ids (real tokens only, 1..n of them); every layer is loaded once for all of them.
// `check` runs between layers. INVALID_ARGUMENT on an empty list or an id outside the vocabulary.
absl::StatusOr<std::vector<TextStates>> EncodeText(const Runtime& runtime, const TextConfig& config,
                                                   const WeightSource& source, PrecisionPolicy policy,
                                                   const std::vector<std::vector<std::int32_t>>& prompts,
                                                   const std::function<absl::Status()>& check);

}  // namespace ovi
