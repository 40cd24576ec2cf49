#include "worker/weights/quantised_layout.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/safetensors_writer.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

absl::Status CheckSource(const TensorInfo& info) {
  if (info.dtype == DType::kF32 || info.dtype == DType::kBF16 || info.dtype == DType::kF16) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(info.name), " is ",
                                                 std::string(DTypeName(info.dtype)),
                                                 "; F32, BF16 or F16 can be quantised"));
}

}  // namespace

std::string_view QuantisedFormatName(QuantisedFormat format) {
  return format == QuantisedFormat::kFp8 ? "fp8" : "int8";
}

DType QuantisedDType(QuantisedFormat format) {
  return format == QuantisedFormat::kFp8 ? DType::kF8E4M3 : DType::kI8;
}

bool IsQuantised(const TensorInfo& info) {
  const std::string_view name = info.name;
  return info.shape.rank() == 2 && name.find(".blocks.") != std::string_view::npos && name.ends_with(".weight");
}

absl::StatusOr<QuantisedLayout> LayOutQuantised(const std::vector<TensorInfo>& source, QuantisedFormat format,
                                                const std::string& source_id) {
  QuantisedLayout layout;
  for (const TensorInfo& info : source) {
    OVI_RETURN_IF_ERROR(CheckSource(info));
    layout.pieces.push_back({.name = info.name, .shape = info.shape, .is_quantised = IsQuantised(info)});
  }

  std::vector<TensorInfo> entries;  // in the order of the file
  const auto add = [&](const std::string& name, DType dtype, const Shape& shape, std::int64_t& at,
                       std::int64_t& piece_bytes) {
    const std::int64_t bytes = shape.elements() * ElementBytes(dtype);
    entries.push_back({name, dtype, shape, bytes});
    at = layout.bytes;
    layout.bytes += bytes;
    piece_bytes += bytes;
  };
  for (QuantisedPiece& piece : layout.pieces) {
    if (piece.is_quantised) {
      add(piece.name + "_scale", DType::kF32, {piece.shape[0]}, piece.scale_at, piece.bytes);
    }
  }
  for (QuantisedPiece& piece : layout.pieces) {
    if (!piece.is_quantised) add(piece.name, DType::kBF16, piece.shape, piece.data_at, piece.bytes);
  }
  for (QuantisedPiece& piece : layout.pieces) {
    if (piece.is_quantised) {
      add(piece.name, QuantisedDType(format), piece.shape, piece.data_at, piece.bytes);
    }
  }
  layout.head = SafetensorsHead(entries, {{"ovi.format", std::string(QuantisedFormatName(format))},
                                          {"ovi.source", source_id},
                                          {"ovi.convert_version", std::string(kConvertVersion)}});
  const auto head_bytes = static_cast<std::int64_t>(layout.head.size());
  for (QuantisedPiece& piece : layout.pieces) {
    piece.data_at += head_bytes;
    piece.scale_at += head_bytes;
  }
  layout.bytes += head_bytes;
  return layout;
}

}  // namespace ovi
