// The two containers torch.save writes: a zip file since torch 1.6, a stream of pickles before (.pt and .pth
// are either).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "worker/weights/tensor_table.h"

namespace ovi {

bool IsTorchZip(std::span<const std::byte> file);
bool IsTorchLegacy(std::span<const std::byte> file);

// Tensors are views of `file` (see AddTorchTensors for the exceptions). INVALID_ARGUMENT or, for too large
// copies, RESOURCE_EXHAUSTED names the file and what in it is wrong. Nothing outside `file` is read, nothing
// in it is run.
//   zip:    <name>/data.pkl, storages as <name>/data/<key>, <name>/byteorder "little" if there, all stored.
//   legacy: pickles of a magic number, 1001, system info, the object and the storage keys; then for each key
//   its
//           element count as int64 and its elements.
absl::StatusOr<std::unique_ptr<TensorTable>> ParseTorchZip(WeightBytes file);
absl::StatusOr<std::unique_ptr<TensorTable>> ParseTorchLegacy(WeightBytes file);

}  // namespace ovi
