// Files with compressed matrices (compressed_matrix.h): four tensors of the file are one here.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/weights/tensor_table.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// The table, with every matrix in the place of its parts: Find computes it in f32, each time anew, and
// FindCompressed gives the parts. A table without such parts is returned as it is.
//
// INVALID_ARGUMENT, naming the tensor but not the file, for a part without the others, of another type or
// shape than the others ask for, and for a matrix that is there as such too.
absl::StatusOr<std::unique_ptr<WeightSource>> GatherCompressed(std::unique_ptr<TensorTable> table);

}  // namespace ovi
