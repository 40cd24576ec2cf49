#include "tests/golden/runner.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi::golden {

absl::StatusOr<Tensor> Context::Upload(const std::string& name, DType dtype, const Shape& shape) const {
  OVI_ASSIGN_OR_RETURN(const Reference reference, set.Tensor(name));
  if (reference.shape.elements() != shape.elements()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is ", reference.shape.ToString(), ", which does not fit ", shape.ToString()));
  }
  OVI_ASSIGN_OR_RETURN(const Tensor wide, runtime.arena.Allocate(DType::kF32, shape, name));
  runtime.stream.Upload(wide, HostTensor{reference.values.data(), DType::kF32, shape});
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  if (dtype == DType::kF32) return wide;
  OVI_ASSIGN_OR_RETURN(const Tensor narrow, runtime.arena.Allocate(dtype, shape, name));
  runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = wide, .out = narrow});
  return narrow;
}

absl::StatusOr<std::vector<float>> Context::Download(const Tensor& tensor) const {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor wide, runtime.arena.Allocate(DType::kF32, tensor.shape, "download"));
  runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = tensor, .out = wide});
  std::vector<float> values(static_cast<std::size_t>(wide.elements()));
  runtime.stream.Download(values.data(), wide);
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  return values;
}

Runner FindRunner(const std::string& id) {
  for (const auto* table : {&FusionRunners(), &AutoencoderRunners(), &HostRunners()}) {
    const auto found = table->find(id);
    if (found != table->end()) return found->second;
  }
  if (id.starts_with("pipeline_")) return RunPipeline;
  return nullptr;
}

}  // namespace ovi::golden
