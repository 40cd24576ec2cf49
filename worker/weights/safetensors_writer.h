// Writes f32 tensors as a safetensors file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct NamedTensor {
  Shape shape;
  std::vector<float> values;  // row-major
};

// `path` appears only when complete (see base/part_file.h, whose errors are returned).
absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace ovi
