// Holds a weight file against the table of the model that is to be loaded from it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/weights/weight_source.h"

namespace ovi {

struct TensorSpec {
  std::string name;
  Shape shape;
};

// OK when the file has the expected names (each given once), in any dtype, with these shapes and no others.
// Otherwise INVALID_ARGUMENT with the file, how many tensors are missing, unexpected or of another shape, and
// the first of each.
absl::Status CheckTensors(const WeightSource& source, const std::vector<TensorSpec>& expected);

}  // namespace ovi
