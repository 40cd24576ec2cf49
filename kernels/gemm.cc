#include "kernels/gemm.h"

#include "absl/strings/str_cat.h"
#include "kernels/contract.h"

namespace ovi {

absl::Status Validate(const Gemm& op) {
  Contract contract("gemm");
  contract.Require(op.weight != nullptr, "weight is missing");
  contract.Require(op.a.shape.rank() == 2, absl::StrCat("a is ", op.a.shape.ToString(), ", expected (M, K)"));
  if (!contract.status().ok()) return contract.status();
  const GemmWeight& weight = *op.weight;
  const std::int64_t rows = op.a.shape[0];
  contract.Require(weight.dtype == DType::kF32 || weight.dtype == DType::kBF16 || IsQuantised(weight.dtype),
                   absl::StrCat("weight is ", std::string(DTypeName(weight.dtype)),
                                ", expected F32, BF16, F8_E4M3 or I8"));
  contract.Require(weight.n > 0 && weight.k > 0 && !weight.storage.empty(),
                   absl::StrCat("weight (", weight.n, "x", weight.k, ") was never allocated"));
  const DType a_type = weight.dtype == DType::kF8E4M3 ? DType::kBF16 : weight.dtype;
  contract.Is(op.a, a_type, {rows, weight.k}, "a");
  contract.IsFloat(op.out, "out");
  contract.Is(op.out, op.out.dtype, {rows, weight.n}, "out");
  if (IsQuantised(weight.dtype)) contract.Is(weight.scale, DType::kF32, {weight.n}, "weight.scale");
  if (weight.dtype == DType::kI8) {
    contract.Is(op.a_scale, DType::kF32, {rows}, "a_scale");
  } else {
    contract.Require(op.a_scale.empty(), "a_scale needs an I8 weight");
  }
  if (!op.bias.empty()) contract.Is(op.bias, DType::kF32, {weight.n}, "bias");
  if (!op.residual.empty()) {
    contract.IsFloat(op.residual, "residual");
    contract.Is(op.residual, op.residual.dtype, {rows, weight.n}, "residual");
    contract.Require(op.residual.data != op.out.data || op.residual.dtype == op.out.dtype,
                     "residual in out's memory must have out's dtype");
  }
  if (!op.gate.empty()) {
    contract.Is(op.gate, DType::kF32, {weight.n}, "gate");
    contract.Require(!op.residual.empty() || rows == 0, "gate needs a residual");
  }
  return contract.status();
}

}  // namespace ovi
