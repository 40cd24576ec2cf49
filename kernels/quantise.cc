#include "kernels/quantise.h"

#include "absl/strings/str_cat.h"
#include "kernels/contract.h"

namespace ovi {

absl::Status Validate(const QuantiseRows& op) {
  Contract contract("quantise_rows");
  contract.IsFloat(op.x, "x");
  contract.Require(op.x.shape.rank() == 2, absl::StrCat("x is ", op.x.shape.ToString(), ", expected (T, C)"));
  if (!contract.status().ok()) return contract.status();
  contract.Is(op.x, op.x.dtype, op.x.shape, "x");
  contract.Is(op.q, DType::kI8, op.x.shape, "q");
  contract.Is(op.scale, DType::kF32, {op.x.shape[0]}, "scale");
  return contract.status();
}

}  // namespace ovi
