#include "worker/model/params.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

HostTensor View(std::span<const float> values, const Shape& shape) {
  return {values.data(), DType::kF32, shape};
}

Shape KernelShape(std::int64_t outer, std::int64_t inner, const Extent3& kernel) {
  return {outer, inner, kernel[0], kernel[1], kernel[2]};
}

}  // namespace

absl::StatusOr<HostTensor> ParamLoader::Find(std::string_view name, std::int64_t elements) const {
  OVI_ASSIGN_OR_RETURN(HostTensor tensor, source_.Find(name));
  if (tensor.elements() != elements) {
    return absl::InvalidArgumentError(absl::StrCat(source_.path(), ": ", std::string(name), " has ",
                                                   tensor.elements(), " values (", tensor.shape.ToString(),
                                                   "), expected ", elements));
  }
  return tensor;
}

absl::StatusOr<std::vector<float>> ParamLoader::Values(std::string_view name, std::int64_t elements) const {
  if (!reads_values()) return std::vector<float>(static_cast<std::size_t>(elements));
  OVI_ASSIGN_OR_RETURN(const HostTensor tensor, Find(name, elements));
  return ToFloats(tensor);
}

HostTensor ParamLoader::Rounded(const HostTensor& tensor, std::vector<float>& storage) const {
  // A bf16 destination rounds on its way in; a bf16 or fp8 source is exact already, unless it is scaled.
  const bool exact =
      tensor.dtype == DType::kBF16 || (tensor.dtype == DType::kF8E4M3 && tensor.row_scale == nullptr);
  if (!format_.bf16_weights || format_.compute == DType::kBF16 || exact || !reads_values()) return tensor;
  storage = ToFloats(tensor);
  RoundToBFloat16(storage);
  return View(storage, tensor.shape);
}

bool ParamLoader::IsWanted(const Tensor& tensor) const {
  return !wanted_ || (tensor.data < wanted_->second && tensor.data + tensor.bytes() > wanted_->first);
}

absl::StatusOr<LinearParams> ParamLoader::Linear(std::string_view prefix, std::int64_t n, std::int64_t k,
                                                 Bias bias, DType dtype) {
  const std::string name = absl::StrCat(std::string(prefix), ".weight");
  LinearParams params;
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(params.weight, runtime_.backend.AllocateGemmWeight(runtime_.arena, dtype, n, k, name));
  if (IsWanted(params.weight.storage) || IsWanted(params.weight.scale)) {
    OVI_ASSIGN_OR_RETURN(HostTensor host, Find(name, n * k));
    std::vector<float> storage;
    host = Rounded(host, storage);
    host.shape = {n, k};  // a patch convolution is a linear layer over the flattened patch
    runtime_.stream.Upload(params.weight, host);
    if (!storage.empty() || host.owner) OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  }
  if (bias == Bias::kYes) {
    OVI_ASSIGN_OR_RETURN(params.bias, Vector(absl::StrCat(std::string(prefix), ".bias"), n));
  }
  return params;
}

absl::StatusOr<CompressedMatrix> ParamLoader::FindCompressed(const std::string& name, std::int64_t n,
                                                             std::int64_t k, std::int64_t rank) const {
  const std::optional<CompressedMatrix> matrix = source_.FindCompressed(name);
  if (!matrix) {
    return absl::InvalidArgumentError(
        absl::StrCat(source_.path(), ": ", name, " is not in the low-rank form"));
  }
  if (matrix->n() != n || matrix->k() != k || matrix->rank() != rank) {
    return absl::InvalidArgumentError(absl::StrCat(source_.path(), ": ", name, " is ", matrix->n(), "x",
                                                   matrix->k(), " of rank ", matrix->rank(), ", expected ", n,
                                                   "x", k, " of rank ", rank));
  }
  return *matrix;
}

absl::StatusOr<LinearParams> ParamLoader::CompressedLinear(std::string_view prefix, std::int64_t n,
                                                           std::int64_t k, Bias bias) {
  const std::string name = absl::StrCat(std::string(prefix), ".weight");
  const std::int64_t rank = RankOf(format_.block_matrices.low_rank, n, k);
  LinearParams params;
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(params.weight,
                       runtime_.backend.AllocateGemmWeight(runtime_.arena, FourBitFormat{rank}, n, k, name));
  OVI_ASSIGN_OR_RETURN(params.down,
                       runtime_.backend.AllocateGemmWeight(runtime_.arena, DType::kBF16, rank, k, name));
  const bool wants_rows = IsWanted(params.weight.storage), wants_down = IsWanted(params.down->storage);
  if (wants_rows || wants_down) {
    OVI_ASSIGN_OR_RETURN(const CompressedMatrix host, FindCompressed(name, n, k, rank));
    if (wants_rows) runtime_.stream.Upload(params.weight, host.rows);
    if (wants_down) runtime_.stream.Upload(*params.down, host.down);
  }
  if (bias == Bias::kYes) {
    OVI_ASSIGN_OR_RETURN(params.bias, Vector(absl::StrCat(std::string(prefix), ".bias"), n));
  }
  return params;
}

absl::StatusOr<ConvParams> ParamLoader::Conv(std::string_view prefix, std::int64_t co, std::int64_t ci,
                                             const Extent3& kernel, Bias bias) {
  const std::string name = absl::StrCat(std::string(prefix), ".weight");
  ConvParams params;
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(params.weight, runtime_.backend.AllocateConvWeight(runtime_.arena, format_.compute, co,
                                                                          ci, kernel, name));
  if (IsWanted(params.weight.storage)) {
    OVI_ASSIGN_OR_RETURN(HostTensor host, Find(name, co * ci * kernel[0] * kernel[1] * kernel[2]));
    std::vector<float> storage;
    host = Rounded(host, storage);
    host.shape = KernelShape(co, ci, kernel);
    runtime_.stream.Upload(params.weight, host);
    if (!storage.empty() || host.owner) OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  }
  if (bias == Bias::kYes) {
    OVI_ASSIGN_OR_RETURN(params.bias, Vector(absl::StrCat(std::string(prefix), ".bias"), co));
  }
  return params;
}

absl::StatusOr<Tensor> ParamLoader::Vector(std::string_view name, std::int64_t elements) {
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(const Tensor tensor, runtime_.arena.Allocate(DType::kF32, {elements}, name));
  if (!IsWanted(tensor)) return tensor;
  OVI_ASSIGN_OR_RETURN(const HostTensor host, Find(name, elements));
  OVI_RETURN_IF_ERROR(Fill(tensor, ToFloats(host)));
  return tensor;
}

absl::StatusOr<LinearParams> ParamLoader::LinearFrom(std::span<const float> weight, std::int64_t n,
                                                     std::int64_t k, std::string_view what) {
  std::vector<float> storage;
  LinearParams params;
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(params.weight,
                       runtime_.backend.AllocateGemmWeight(runtime_.arena, format_.compute, n, k, what));
  runtime_.stream.Upload(params.weight, Rounded(View(weight, {n, k}), storage));
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  return params;
}

absl::StatusOr<ConvParams> ParamLoader::ConvFrom(std::span<const float> weight, std::int64_t co,
                                                 std::int64_t ci, const Extent3& kernel,
                                                 std::string_view what) {
  std::vector<float> storage;
  ConvParams params;
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(params.weight, runtime_.backend.AllocateConvWeight(runtime_.arena, format_.compute, co,
                                                                          ci, kernel, what));
  runtime_.stream.Upload(params.weight, Rounded(View(weight, KernelShape(co, ci, kernel)), storage));
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  return params;
}

absl::StatusOr<ConvTransposeParams> ParamLoader::ConvTransposeFrom(std::span<const float> weight,
                                                                   std::int64_t ci, std::int64_t co,
                                                                   std::int64_t kernel,
                                                                   std::string_view what) {
  std::vector<float> storage;
  ConvTransposeParams params;
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(params.weight, runtime_.backend.AllocateConvTransposeWeight(
                                          runtime_.arena, format_.compute, ci, co, kernel, what));
  runtime_.stream.Upload(params.weight, Rounded(View(weight, {ci, co, kernel}), storage));
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  return params;
}

absl::Status ParamLoader::Fill(const Tensor& tensor, std::vector<float> values) {
  if (format_.bf16_weights) RoundToBFloat16(values);
  runtime_.stream.Upload(tensor, View(values, tensor.shape));
  return runtime_.stream.Sync();
}

absl::StatusOr<Tensor> ParamLoader::VectorFrom(std::span<const float> values, std::string_view what) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
  OVI_ASSIGN_OR_RETURN(const Tensor tensor, runtime_.arena.Allocate(DType::kF32, shape, what));
  if (IsWanted(tensor)) OVI_RETURN_IF_ERROR(Fill(tensor, {values.begin(), values.end()}));
  return tensor;
}

}  // namespace ovi
