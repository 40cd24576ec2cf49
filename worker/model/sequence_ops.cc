#include "worker/model/sequence_ops.h"

#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

Tensor AsRow(const Tensor& tensor) {
  return tensor.Reshaped({1, 1, tensor.shape[0], tensor.shape[1]});
}

}  // namespace

Conv SequenceConv(const ConvParams& params, const Tensor& in, const Tensor& out, std::int64_t dilation) {
  const std::int64_t pad = dilation * (params.weight.kernel[2] - 1) / 2;
  return {.in = AsRow(in),
          .weight = &params.weight,
          .bias = params.bias,
          .pad_before = {0, 0, pad},
          .pad_after = {0, 0, pad},
          .dilation = {1, 1, dilation},
          .out = AsRow(out)};
}

Tensor CastInto(const Runtime& runtime, const Tensor& in, const Tensor& scratch) {
  if (in.dtype == scratch.dtype) return in;
  runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = in, .out = scratch});
  return scratch;
}

absl::StatusOr<ScratchBuffers> ScratchBuffers::Allocate(Arena& arena, DType dtype, int count,
                                                        std::int64_t elements, std::string_view what) {
  ScratchBuffers scratch;
  for (int i = 0; i < count; ++i) {
    OVI_ASSIGN_OR_RETURN(scratch.buffers_.emplace_back(), arena.Allocate(dtype, {elements}, what));
  }
  return scratch;
}

Tensor ScratchBuffers::View(int index, std::int64_t length, std::int64_t channels) const {
  const Tensor& buffer = buffers_[static_cast<std::size_t>(index)];
  OVI_CHECK(length * channels <= buffer.elements());
  return buffer.Slice(0, length * channels).Reshaped({length, channels});
}

}  // namespace ovi
