// A linear layer of a network, in whatever format its matrix is kept.
#pragma once

#include "absl/status/status.h"
#include "worker/model/params.h"
#include "worker/model/runtime.h"

namespace ovi {

// Runs `op` (kernels/gemm.h), whose weight and bias are those of `linear` and whose `a` is in the network's
// own format: for an int8 matrix its rows are quantised first, for a compressed one multiplied by `down`, in
// arena memory that is given back.
absl::Status RunLinear(const Runtime& runtime, const LinearParams& linear, Gemm op);

}  // namespace ovi
