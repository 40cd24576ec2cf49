#include "kernels/attention.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/contract.h"

namespace ovi {

absl::Status Validate(const Attention& op) {
  Contract contract("attention");
  contract.IsFloat(op.q, "q");
  contract.Require(op.q.shape.rank() == 2, absl::StrCat("q is ", op.q.shape.ToString(), ", expected rank 2"));
  contract.Require(op.k.shape.rank() == 2, absl::StrCat("k is ", op.k.shape.ToString(), ", expected rank 2"));
  if (!contract.status().ok()) return contract.status();
  const std::int64_t rows = op.q.shape[0];
  const std::int64_t width = op.q.shape[1];
  const std::int64_t key_rows = op.k.shape[0];
  contract.Require(
      op.heads >= 1 && width >= 1 && width % op.heads == 0,
      absl::StrCat("q is ", op.q.shape.ToString(), ", expected a multiple of heads=", op.heads, " columns"));
  contract.Is(op.q, op.q.dtype, Shape{rows, width}, "q");
  contract.Is(op.k, op.q.dtype, Shape{key_rows, width}, "k");
  contract.Is(op.v, op.q.dtype, Shape{key_rows, width}, "v");
  contract.Is(op.out, op.out.dtype == DType::kF32 ? DType::kF32 : op.q.dtype, Shape{rows, width}, "out");
  contract.Require(op.keys >= 0 && op.keys <= key_rows,
                   absl::StrCat("keys=", op.keys, ", expected 0 to the ", key_rows, " rows of k"));
  contract.Require(!op.round_scores || op.q.dtype == DType::kBF16, "round_scores needs BF16");
  if (!op.rel_bias.empty()) {
    const std::int64_t distances = std::max<std::int64_t>(rows + key_rows - 1, 0);
    contract.Is(op.rel_bias, DType::kF32, Shape{op.heads, distances}, "rel_bias");
  }
  if (!op.lse.empty()) contract.Is(op.lse, DType::kF32, Shape{op.heads, rows}, "lse");
  return contract.status();
}

}  // namespace ovi
