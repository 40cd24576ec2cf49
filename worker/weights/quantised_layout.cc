#include "worker/weights/quantised_layout.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/compressed_matrix.h"
#include "worker/weights/safetensors_writer.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

absl::Status CheckSource(const TensorInfo& info) {
  if (info.rank > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Printable(info.name), " is compressed; F32, BF16 or F16 can be quantised"));
  }
  if (info.dtype == DType::kF32 || info.dtype == DType::kBF16 || info.dtype == DType::kF16) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(info.name), " is ",
                                                 std::string(DTypeName(info.dtype)),
                                                 "; F32, BF16 or F16 can be quantised"));
}

}  // namespace

std::string_view QuantisedFormatName(QuantisedFormat format) {
  switch (format) {
    case QuantisedFormat::kFp8:
      return "fp8";
    case QuantisedFormat::kInt8:
      return "int8";
    case QuantisedFormat::kLowRank:
      return "low_rank";
  }
  return "?";
}

DType QuantisedDType(QuantisedFormat format) {
  switch (format) {
    case QuantisedFormat::kFp8:
      return DType::kF8E4M3;
    case QuantisedFormat::kInt8:
      return DType::kI8;
    case QuantisedFormat::kLowRank:
      return DType::kU8;
  }
  return DType::kU8;
}

bool IsQuantised(const TensorInfo& info) {
  const std::string_view name = info.name;
  return info.shape.rank() == 2 && name.find(".blocks.") != std::string_view::npos &&
         name.ends_with(".weight");
}

absl::StatusOr<QuantisedLayout> LayOutQuantised(const std::vector<TensorInfo>& source, QuantisedFormat format,
                                                std::int64_t rank, const std::string& source_id) {
  const bool low_rank = format == QuantisedFormat::kLowRank;
  QuantisedLayout layout;
  for (const TensorInfo& info : source) {
    OVI_RETURN_IF_ERROR(CheckSource(info));
    const bool is_quantised = IsQuantised(info);
    layout.pieces.push_back(
        {.name = info.name,
         .shape = info.shape,
         .is_quantised = is_quantised,
         .rank = is_quantised && low_rank ? RankOf(rank, info.shape[0], info.shape[1]) : 0});
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
    if (!piece.is_quantised) continue;
    if (low_rank) {
      add(absl::StrCat(piece.name, std::string(kResidualScaleEnding)), DType::kBF16,
          {piece.shape[0], FourBitGroups(piece.shape[1])}, piece.scale_at, piece.bytes);
    } else {
      add(piece.name + "_scale", DType::kF32, {piece.shape[0]}, piece.scale_at, piece.bytes);
    }
  }
  for (QuantisedPiece& piece : layout.pieces) {
    if (!piece.is_quantised) add(piece.name, DType::kBF16, piece.shape, piece.data_at, piece.bytes);
  }
  for (QuantisedPiece& piece : layout.pieces) {
    if (!piece.is_quantised) continue;
    if (low_rank) {
      const std::int64_t rows = piece.shape[0], columns = piece.shape[1];
      add(absl::StrCat(piece.name, std::string(kUpEnding)), DType::kBF16, {rows, piece.rank}, piece.up_at,
          piece.bytes);
      add(absl::StrCat(piece.name, std::string(kDownEnding)), DType::kBF16, {piece.rank, columns},
          piece.down_at, piece.bytes);
      add(absl::StrCat(piece.name, std::string(kResidualEnding)), QuantisedDType(format),
          {rows, FourBitRowBytes(columns)}, piece.data_at, piece.bytes);
    } else {
      add(piece.name, QuantisedDType(format), piece.shape, piece.data_at, piece.bytes);
    }
  }
  std::map<std::string, std::string> metadata = {
      {std::string(kFormatKey), std::string(QuantisedFormatName(format))},
      {"ovi.source", source_id},
      {"ovi.convert_version", std::string(kConvertVersion)}};
  if (low_rank) metadata[std::string(kRankKey)] = absl::StrCat(rank);
  layout.head = SafetensorsHead(entries, metadata);
  const auto head_bytes = static_cast<std::int64_t>(layout.head.size());
  for (QuantisedPiece& piece : layout.pieces) {
    piece.data_at += head_bytes;
    piece.scale_at += head_bytes;
    piece.up_at += head_bytes;
    piece.down_at += head_bytes;
  }
  layout.bytes += head_bytes;
  return layout;
}

}  // namespace ovi
