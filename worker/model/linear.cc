#include "worker/model/linear.h"

#include "base/status.h"

namespace ovi {

absl::Status RunLinear(const Runtime& runtime, const LinearParams& linear, Gemm op) {
  op.weight = &linear.weight;
  op.bias = linear.bias;
  ArenaScope scope(runtime.arena);
  if (linear.weight.dtype == DType::kI8) {
    OVI_ASSIGN_OR_RETURN(const Tensor q,
                         runtime.arena.Allocate(DType::kI8, op.a.shape, "quantised activations"));
    OVI_ASSIGN_OR_RETURN(
        op.a_scale, runtime.arena.Allocate(DType::kF32, {op.a.shape[0]}, "scales of quantised activations"));
    runtime.stream.Run(QuantiseRows{.x = op.a, .q = q, .scale = op.a_scale});
    op.a = q;
  }
  if (linear.down) {
    OVI_ASSIGN_OR_RETURN(op.a_tail, runtime.arena.Allocate(DType::kBF16, {op.a.shape[0], linear.down->n},
                                                           "low-rank activations"));
    runtime.stream.Run(Gemm{.a = op.a, .weight = &*linear.down, .out = op.a_tail});
  }
  runtime.stream.Run(op);
  return absl::OkStatus();
}

}  // namespace ovi
