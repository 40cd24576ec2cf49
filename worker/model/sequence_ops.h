// What the audio networks share: convolutions over a sequence (L, C), and scratch memory seen under changing
// shapes.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/params.h"
#include "worker/model/runtime.h"

namespace ovi {

// `in` (L, Ci) to `out` (L, Co), zero-padded by dilation * (k - 1) / 2 on both sides, k odd. Set activation
// and residual on the result. `params` must outlive the op.
Conv SequenceConv(const ConvParams& params, const Tensor& in, const Tensor& out, std::int64_t dilation = 1);

// `in` itself where it has the dtype of `scratch` already, else `scratch` with the values cast.
Tensor CastInto(const Runtime& runtime, const Tensor& in, const Tensor& scratch);

// `count` arena tensors of `elements` values each. The arena's scope of the caller gives them back.
class ScratchBuffers {
 public:
  static absl::StatusOr<ScratchBuffers> Allocate(Arena& arena, DType dtype, int count, std::int64_t elements,
                                                 std::string_view what);
  // The head of buffer `index` as (length, channels).
  Tensor View(int index, std::int64_t length, std::int64_t channels) const;

 private:
  std::vector<Tensor> buffers_;
};

}  // namespace ovi
