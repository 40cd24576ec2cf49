// The safetensors format: u64 header length, JSON header, data.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/weights/tensor_table.h"

namespace ovi {

// Tensors are views of `file`. Strict as the format is: the data section is covered by the tensors exactly,
// without overlap, hole or rest. INVALID_ARGUMENT names the file, the tensor and the field. Nothing outside
// `file` is read.
absl::StatusOr<std::unique_ptr<TensorTable>> ParseSafetensors(WeightBytes file);

}  // namespace ovi
