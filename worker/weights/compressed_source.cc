#include "worker/weights/compressed_source.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/compressed_matrix.h"

namespace ovi {
namespace {

constexpr std::string_view kMatrix = ".weight";
// Longer endings before those they end in.
constexpr std::array kEndings = {kResidualScaleEnding, kResidualEnding, kUpEnding, kDownEnding};

// The matrix that a tensor of this name is a part of; "" for none.
std::string_view MatrixOf(std::string_view name) {
  for (const std::string_view ending : kEndings) {
    if (!name.ends_with(ending)) continue;
    const std::string_view matrix = name.substr(0, name.size() - ending.size());
    if (matrix.ends_with(kMatrix)) return matrix;
  }
  return {};
}

bool IsResidual(std::string_view name) {
  return name.ends_with(kResidualEnding) && !MatrixOf(name).empty();
}

absl::StatusOr<HostTensor> FindPart(const TensorTable& table, const std::string& matrix,
                                    std::string_view ending) {
  absl::StatusOr<HostTensor> part = table.Find(matrix + std::string(ending));
  if (part.ok()) return part;
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(matrix),
                                                 " is compressed, but there is no ",
                                                 Printable(matrix + std::string(ending))));
}

absl::Status CheckPart(const HostTensor& part, DType dtype, const Shape& shape, const std::string& matrix,
                       std::string_view ending) {
  if (part.dtype == dtype && part.shape == shape) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "tensor ", Printable(matrix + std::string(ending)), " is ", std::string(DTypeName(part.dtype)), " ",
      part.shape.ToString(), ", expected ", std::string(DTypeName(dtype)), " ", shape.ToString()));
}

absl::StatusOr<CompressedMatrix> Gather(const TensorTable& table, const std::string& matrix) {
  CompressedMatrix parts;
  OVI_ASSIGN_OR_RETURN(parts.rows.q, FindPart(table, matrix, kResidualEnding));
  OVI_ASSIGN_OR_RETURN(parts.rows.scale, FindPart(table, matrix, kResidualScaleEnding));
  OVI_ASSIGN_OR_RETURN(parts.rows.up, FindPart(table, matrix, kUpEnding));
  OVI_ASSIGN_OR_RETURN(parts.down, FindPart(table, matrix, kDownEnding));
  // `down` says rank and columns, the residual the rows; everything else follows.
  const auto is_matrix = [](const HostTensor& tensor) {
    return tensor.shape.rank() == 2 && tensor.shape[0] > 0 && tensor.shape[1] > 0;
  };
  for (const auto& [part, ending] :
       {std::pair{&parts.rows.q, kResidualEnding}, std::pair{&parts.down, kDownEnding}}) {
    if (is_matrix(*part)) continue;
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(matrix + std::string(ending)), " is ",
                                                   part->shape.ToString(), ", expected a matrix"));
  }
  const std::int64_t n = parts.n(), k = parts.k(), rank = parts.rank();
  OVI_RETURN_IF_ERROR(CheckPart(parts.rows.q, DType::kU8, {n, FourBitRowBytes(k)}, matrix, kResidualEnding));
  OVI_RETURN_IF_ERROR(
      CheckPart(parts.rows.scale, DType::kBF16, {n, FourBitGroups(k)}, matrix, kResidualScaleEnding));
  OVI_RETURN_IF_ERROR(CheckPart(parts.rows.up, DType::kBF16, {n, rank}, matrix, kUpEnding));
  OVI_RETURN_IF_ERROR(CheckPart(parts.down, DType::kBF16, {rank, k}, matrix, kDownEnding));
  return parts;
}

class CompressedSource final : public WeightSource {
 public:
  using Matrices = std::map<std::string, CompressedMatrix, std::less<>>;

  // Of the table, the parts are gone.
  CompressedSource(std::unique_ptr<TensorTable> table, Matrices matrices)
      : table_(std::move(table)), matrices_(std::move(matrices)) {}

  const std::string& path() const override { return table_->path(); }
  const std::map<std::string, std::string>& metadata() const override { return table_->metadata(); }

  std::vector<TensorInfo> List() const override {
    std::vector<TensorInfo> list = table_->List();
    for (const auto& [name, parts] : matrices_) {
      list.push_back({.name = name,
                      .dtype = DType::kF32,
                      .shape = {parts.n(), parts.k()},
                      .bytes = parts.rows.q.bytes() + parts.rows.scale.bytes() + parts.rows.up.bytes() +
                               parts.down.bytes(),
                      .rank = parts.rank()});
    }
    std::sort(list.begin(), list.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
    return list;
  }

  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    const std::optional<CompressedMatrix> parts = FindCompressed(name);
    if (!parts) return table_->Find(name);
    const auto values = std::make_shared<const std::vector<float>>(Expand(*parts));
    return HostTensor{values->data(), DType::kF32, {parts->n(), parts->k()}, values};
  }

  std::optional<CompressedMatrix> FindCompressed(std::string_view name) const override {
    const auto found = matrices_.find(name);
    return found == matrices_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::unique_ptr<TensorTable> table_;
  Matrices matrices_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> GatherCompressed(std::unique_ptr<TensorTable> table) {
  const std::vector<TensorInfo> list = table->List();
  const auto is_residual = [](const TensorInfo& info) { return IsResidual(info.name); };
  // Other tensors may end in _up and _down by chance.
  if (std::none_of(list.begin(), list.end(), is_residual)) return table;
  CompressedSource::Matrices matrices;
  for (const TensorInfo& info : list) {
    const std::string matrix(MatrixOf(info.name));
    if (matrix.empty()) continue;
    if (!matrices.contains(matrix)) {
      OVI_ASSIGN_OR_RETURN(matrices[matrix], Gather(*table, matrix));
      if (table->Find(matrix).ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor ", Printable(matrix), " is there as such and compressed"));
      }
    }
  }
  for (const auto& [matrix, parts] : matrices) {
    for (const std::string_view ending : kEndings) table->Remove(matrix + std::string(ending));
  }
  return std::make_unique<CompressedSource>(std::move(table), std::move(matrices));
}

}  // namespace ovi
