// From the pickled objects of a torch file to tensors: state dict, storages, strides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/weights/pickle.h"
#include "worker/weights/tensor_table.h"

namespace ovi {

// What the persistent id of a storage says: ('storage', type, key, location, element count).
struct TorchStorage {
  std::string_view key;
  PickleGlobal type = PickleGlobal::kFloatStorage;
  std::int64_t elements = 0;

  std::int64_t element_bytes() const;
  std::int64_t bytes() const {
    return elements * element_bytes();
  }  // checked not to overflow by ReadTorchStorage
};

// INVALID_ARGUMENT for a persistent id that is no storage, or one that is a view of another (written before
// torch 0.4).
absl::StatusOr<TorchStorage> ReadTorchStorage(const Pickle& pickle, const PickleValue& persistent_id);

// The bytes of a storage in the file, at least as many as it declares; any more are ignored.
using StorageBytes = std::function<absl::StatusOr<std::span<const std::byte>>(const TorchStorage&)>;

// Adds the tensors and parameters of the pickled dict to `table`; other entries of the dict are ignored. A
// dict wrapped as checkpoints wrap it is unwrapped first: under `module`, under `generator`, or under `app`
// then `model`. A row-major tensor is a view of its storage; any other stride pattern, and float64, which the
// model computes nothing in and which becomes F32, is copied (TensorTable::Own limits how much). Errors name
// the tensor, not the file.
absl::Status AddTorchTensors(const Pickle& pickle, const StorageBytes& storage_bytes, TensorTable& table);

}  // namespace ovi
