// A read-only set of named tensors: one open checkpoint file, whatever its format.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/tensor.h"
#include "worker/weights/compressed_matrix.h"

namespace ovi {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::int64_t bytes = 0;  // without those of the scales
  bool is_scaled = false;  // a quantised matrix: HostTensor::row_scale is set
  std::int64_t rank = 0;   // of a compressed matrix, which Find expands to `dtype`; `bytes` are its parts'
};

// Thread-safe for reads. Tensors are row-major, little-endian views of the mapped file, not copies, so `data`
// has the alignment the file gives it, which may be none: read elements with memcpy or through convert.h,
// never by casting. A source may also compute tensors (lora.h), each time it is asked.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // As given to OpenWeights.
  virtual const std::string& path() const = 0;
  // Sorted by name.
  virtual std::vector<TensorInfo> List() const = 0;
  // The memory of a view lives as long as the source; that of a computed tensor as long as its `owner` is
  // held, so also until the Sync after its upload. NOT_FOUND names file and tensor.
  virtual absl::StatusOr<HostTensor> Find(std::string_view name) const = 0;
  // A compressed matrix as it is kept; nothing for any other tensor. The memory lives as long as the source.
  virtual std::optional<CompressedMatrix> FindCompressed(std::string_view) const { return std::nullopt; }
  // The __metadata__ of a safetensors file; empty for other formats.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
};

}  // namespace ovi
