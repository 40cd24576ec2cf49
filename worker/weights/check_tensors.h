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

// OK when the file has the expected names (each given once), with these shapes and no others, in any dtype
// but I8 without scales, which are no values. Otherwise INVALID_ARGUMENT with the file, how many tensors are
// missing, unexpected, of another shape or without scales, and the first of each.
absl::Status CheckTensors(const WeightSource& source, const std::vector<TensorSpec>& expected);

}  // namespace ovi
