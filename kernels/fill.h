// out = value, everywhere. f32 or bf16.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct Fill {
  Tensor out;
  float value = 0.0f;
};

absl::Status Validate(const Fill& op);

}  // namespace ovi
