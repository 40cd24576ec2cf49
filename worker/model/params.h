// From named checkpoint tensors to device parameters: looks a tensor up, checks its shape, rounds it to the
// network's number format and puts it into the arena.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/runtime.h"
#include "worker/weights/weight_source.h"

namespace ovi {

struct LinearParams {
  GemmWeight weight;  // of a compressed matrix: its 4 bits, and `up` as their tail
  Tensor bias;        // empty without one
  std::optional<GemmWeight> down = std::nullopt;  // of a compressed matrix: (R, k) bf16
};

struct ConvParams {
  ConvWeight weight;
  Tensor bias;
};

struct ConvTransposeParams {
  ConvTransposeWeight weight;
  Tensor bias;
};

// Borrows everything it is given. Uploads are synchronised before a temporary host copy goes away.
class ParamLoader {
 public:
  enum class Bias { kNone, kYes };

  ParamLoader(const Runtime& runtime, const WeightSource& source, NumberFormat format)
      : runtime_(runtime), source_(source), format_(format) {
    if (!runtime.backend.ReadsUploads()) FillOnly(nullptr, nullptr);
  }

  // `prefix`.weight (n, k) and, with kYes, `prefix`.bias (n).
  absl::StatusOr<LinearParams> Linear(std::string_view prefix, std::int64_t n, std::int64_t k, Bias bias) {
    return Linear(prefix, n, k, bias, format_.compute);
  }
  // The same with a matrix of the format's block_matrices. A compressed one is not made here, which takes
  // minutes: INVALID_ARGUMENT where the source has it otherwise or with another rank.
  absl::StatusOr<LinearParams> BlockLinear(std::string_view prefix, std::int64_t n, std::int64_t k,
                                           Bias bias) {
    return format_.block_matrices.low_rank > 0 ? CompressedLinear(prefix, n, k, bias)
                                               : Linear(prefix, n, k, bias, format_.block_matrices.dtype);
  }
  // `prefix`.weight (co, ci, [[kt,] kh,] kw) of as many elements as co * ci * kernel, and `prefix`.bias (co).
  absl::StatusOr<ConvParams> Conv(std::string_view prefix, std::int64_t co, std::int64_t ci,
                                  const Extent3& kernel, Bias bias);
  // Any tensor of `elements` values as an f32 vector on the device.
  absl::StatusOr<Tensor> Vector(std::string_view name, std::int64_t elements);

  // The same from values computed on the host.
  absl::StatusOr<LinearParams> LinearFrom(std::span<const float> weight, std::int64_t n, std::int64_t k,
                                          std::string_view what);
  absl::StatusOr<ConvParams> ConvFrom(std::span<const float> weight, std::int64_t co, std::int64_t ci,
                                      const Extent3& kernel, std::string_view what);
  absl::StatusOr<ConvTransposeParams> ConvTransposeFrom(std::span<const float> weight, std::int64_t ci,
                                                        std::int64_t co, std::int64_t kernel,
                                                        std::string_view what);
  absl::StatusOr<Tensor> VectorFrom(std::span<const float> values, std::string_view what);

  // The checkpoint's values, widened to f32 and not yet rounded; zeros where nobody would look at what is
  // made of them. NOT_FOUND, or INVALID_ARGUMENT on another element count.
  absl::StatusOr<std::vector<float>> Values(std::string_view name, std::int64_t elements) const;

  // From now on only tensors that touch device memory from `begin` to before `end` are read and filled; the
  // others are merely allocated. For a rank that keeps a share of what it loads.
  void FillOnly(const std::byte* begin, const std::byte* end) { wanted_ = {begin, end}; }

  // Whether values are wanted at all: if not, whoever computes weights may leave them as they are.
  bool reads_values() const { return !wanted_ || wanted_->first != wanted_->second; }

  const Runtime& runtime() const { return runtime_; }
  NumberFormat format() const { return format_; }

 private:
  absl::StatusOr<LinearParams> Linear(std::string_view prefix, std::int64_t n, std::int64_t k, Bias bias,
                                      DType dtype);
  absl::StatusOr<LinearParams> CompressedLinear(std::string_view prefix, std::int64_t n, std::int64_t k,
                                                Bias bias);
  absl::StatusOr<CompressedMatrix> FindCompressed(const std::string& name, std::int64_t n, std::int64_t k,
                                                  std::int64_t rank) const;
  absl::StatusOr<HostTensor> Find(std::string_view name, std::int64_t elements) const;
  // `tensor` itself where its values already fit the format, else a rounded copy in `storage`.
  HostTensor Rounded(const HostTensor& tensor, std::vector<float>& storage) const;
  bool IsWanted(const Tensor& tensor) const;
  // A vector, rounded to the format. Synchronises, since `values` go.
  absl::Status Fill(const Tensor& tensor, std::vector<float> values);

  Runtime runtime_;
  const WeightSource& source_;
  NumberFormat format_;
  std::optional<std::pair<const std::byte*, const std::byte*>> wanted_;  // nothing: everything
};

}  // namespace ovi
