#include "worker/weights/row_scales.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

enum class Role { kScale, kInputScale, kMark };

struct Companion {
  Role role = Role::kScale;
  std::string matrix;  // which it belongs to; "" for a mark
};

// What a tensor of this name is to another; nothing for most.
std::optional<Companion> ParseCompanion(std::string_view name) {
  const std::size_t leaf_begin = name.rfind('.') + 1;  // 0 without a dot
  const std::string_view leaf = name.substr(leaf_begin);
  std::string matrix = std::string(name.substr(0, leaf_begin)) + "weight";
  if (leaf == "weight_scale" || leaf == "scale_weight") return Companion{Role::kScale, std::move(matrix)};
  if (leaf == "scale_input" || leaf == "input_scale") return Companion{Role::kInputScale, std::move(matrix)};
  if (leaf == "scaled_fp8") return Companion{Role::kMark, ""};
  return std::nullopt;
}

bool Is8Bit(const HostTensor& tensor) {
  return tensor.dtype == DType::kF8E4M3 || tensor.dtype == DType::kI8;
}

// One number, or one a row.
absl::Status CheckScale(const HostTensor& scale, const std::string& name, const HostTensor& matrix,
                        const std::string& matrix_name) {
  if (!Is8Bit(matrix) || matrix.shape.rank() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, ": ", matrix_name, " is ", std::string(DTypeName(matrix.dtype)), " ",
                     matrix.shape.ToString(), ", but only matrices of F8_E4M3 and I8 have scales"));
  }
  if (scale.dtype != DType::kF32 && scale.dtype != DType::kBF16 && scale.dtype != DType::kF16) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is ",
                                                   std::string(DTypeName(scale.dtype)),
                                                   ", expected a scale of F32, BF16 or F16"));
  }
  const std::int64_t rows = matrix.shape[0];
  const std::int64_t count = scale.elements();
  if (count != 1 && (count != rows || scale.shape[0] != rows)) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is ", scale.shape.ToString(),
                                                   ", expected one scale, or ", rows, " for ", matrix_name,
                                                   " (", matrix.shape.ToString(), ")"));
  }
  return absl::OkStatus();
}

absl::Status CheckScaleValues(std::span<const float> values, const std::string& name) {
  const auto is_bad = [](float value) { return !std::isfinite(value) || value < 0; };
  const auto bad = std::find_if(values.begin(), values.end(), is_bad);
  if (bad == values.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", name, " has the value ", *bad, ", expected finite scales from 0 on"));
}

// (rows) f32: those of the file where it has them so, else a copy.
absl::StatusOr<const void*> RowScale(const HostTensor& scale, std::span<const float> values,
                                     std::int64_t rows, TensorTable& table) {
  if (scale.dtype == DType::kF32 && scale.elements() == rows) return scale.data;
  OVI_ASSIGN_OR_RETURN(const std::span<std::byte> copy, table.Own(rows * ElementBytes(DType::kF32)));
  for (std::int64_t row = 0; row < rows; ++row) {
    const float value = values[values.size() == 1 ? 0 : static_cast<std::size_t>(row)];
    std::memcpy(copy.data() + row * ElementBytes(DType::kF32), &value, sizeof(value));
  }
  return copy.data();
}

absl::Status Attach(TensorTable& table, const std::string& scale_name, const std::string& matrix_name) {
  const std::string name = Printable(scale_name);
  const absl::StatusOr<HostTensor> matrix = table.Find(matrix_name);
  if (!matrix.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, " is a scale, but there is no ", Printable(matrix_name)));
  }
  OVI_ASSIGN_OR_RETURN(const HostTensor scale, table.Find(scale_name));
  OVI_RETURN_IF_ERROR(CheckScale(scale, name, *matrix, Printable(matrix_name)));
  if (matrix->row_scale != nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", name, ": ", Printable(matrix_name), " has another scale already"));
  }
  const std::vector<float> values = ToFloats(scale);
  OVI_RETURN_IF_ERROR(CheckScaleValues(values, name));
  if (matrix->elements() > 0) {
    absl::StatusOr<const void*> row_scale = RowScale(scale, values, matrix->shape[0], table);
    if (!row_scale.ok()) return Annotate(row_scale.status(), absl::StrCat("tensor ", name));
    table.SetRowScale(matrix_name, *row_scale);
  }
  table.Remove(scale_name);
  return absl::OkStatus();
}

}  // namespace

absl::Status AttachRowScales(TensorTable& table) {
  for (const TensorInfo& info : table.List()) {
    const std::optional<Companion> companion = ParseCompanion(info.name);
    if (!companion) continue;
    switch (companion->role) {
      case Role::kScale:
        OVI_RETURN_IF_ERROR(Attach(table, info.name, companion->matrix));
        break;
      case Role::kInputScale: {
        const absl::StatusOr<HostTensor> matrix = table.Find(companion->matrix);
        if (matrix.ok() && Is8Bit(*matrix)) table.Remove(info.name);
        break;
      }
      case Role::kMark:
        table.Remove(info.name);
        break;
    }
  }
  return absl::OkStatus();
}

}  // namespace ovi
