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
  if (weight.four_bit && weight.four_bit->tail_rank > 0) {
    contract.Is(op.a_tail, DType::kBF16, {rows, weight.four_bit->tail_rank}, "a_tail");
  } else {
    contract.Require(op.a_tail.empty(), "a_tail needs a weight with a tail");
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

absl::Status Validate(const GemmWeight& dst, const FourBitRows& src) {
  Contract contract("4-bit gemm weight");
  contract.Require(dst.four_bit.has_value(), "the weight is of another format");
  if (!contract.status().ok()) return contract.status();
  const auto is = [&](const HostTensor& tensor, DType dtype, const Shape& shape, const char* name) {
    contract.Require(
        tensor.dtype == dtype && tensor.shape == shape,
        absl::StrCat(name, " is ", std::string(DTypeName(tensor.dtype)), " ", tensor.shape.ToString(),
                     ", expected ", std::string(DTypeName(dtype)), " ", shape.ToString()));
  };
  is(src.q, DType::kU8, {dst.n, FourBitRowBytes(dst.k)}, "q");
  is(src.scale, DType::kBF16, {dst.n, FourBitGroups(dst.k)}, "scale");
  if (dst.four_bit->tail_rank > 0) {
    is(src.up, DType::kBF16, {dst.n, dst.four_bit->tail_rank}, "up");
  } else {
    contract.Require(src.up.data == nullptr, "up needs a weight with a tail");
  }
  return contract.status();
}

}  // namespace ovi
