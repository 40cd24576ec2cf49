// Writes safetensors files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/tensor.h"
#include "worker/weights/weight_source.h"

namespace ovi {

struct NamedTensor {
  Shape shape;
  std::vector<float> values;  // row-major
};

// The first bytes of a file that has these tensors one behind the other: length and header, padded so that
// the data begins at a multiple of 8.
std::string SafetensorsHead(const std::vector<TensorInfo>& tensors,
                            const std::map<std::string, std::string>& metadata);

// `path` appears only when complete (see base/part_file.h, whose errors are returned).
absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace ovi
