// Transposition: out's axis i is in's axis axes[i]. Patchify, unpatchify and time interleaving are all this.
//
// Shapes: in of rank <= 8, out of the permuted extents; any dtype, the same on both sides. No overlap.
// Cost: one read and one write; fastest when the last axis stays last.
#pragma once

#include <array>

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct Permute {
  Tensor in;
  std::array<int, Shape::kMaxRank> axes{};  // the first in.shape.rank() count
  Tensor out;
};

absl::Status Validate(const Permute& op);

}  // namespace ovi
