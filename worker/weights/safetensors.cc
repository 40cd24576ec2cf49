#include "worker/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/byte_reader.h"
#include "worker/weights/safetensors_header.h"

namespace ovi {
namespace {

// The format's own limit. The largest public file of the model has a header of some 250 KB.
constexpr std::uint64_t kHeaderBytesMax = 100'000'000;

std::optional<DType> DTypeNamed(std::string_view name) {
  constexpr std::array kAll = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3,
                               DType::kI8,  DType::kU8,   DType::kI32, DType::kI64};
  const auto found =
      std::find_if(kAll.begin(), kAll.end(), [&](DType dtype) { return DTypeName(dtype) == name; });
  if (found == kAll.end()) return std::nullopt;
  return *found;
}

// The view of `data` that `entry` describes.
absl::StatusOr<HostTensor> View(const SafetensorsEntry& entry, std::span<const std::byte> data) {
  const std::optional<DType> dtype = DTypeNamed(entry.dtype);
  if (!dtype)
    return absl::InvalidArgumentError(absl::StrCat("dtype ", Printable(entry.dtype), " is not supported"));
  OVI_ASSIGN_OR_RETURN(const Shape shape, CheckedShape(entry.shape, ElementBytes(*dtype)));
  const std::int64_t begin = entry.offsets[0];
  const std::int64_t end = entry.offsets[1];
  if (begin > end)
    return absl::InvalidArgumentError(absl::StrCat("data_offsets begin ", begin, " is after end ", end));
  if (end > static_cast<std::int64_t>(data.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets end ", end, " is beyond the ", data.size(), " data bytes of the file"));
  }
  const HostTensor tensor{data.data() + begin, *dtype, shape};
  if (tensor.bytes() != end - begin) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets hold ", end - begin, " bytes, but ",
                                                   entry.dtype, " ", shape.ToString(), " takes ",
                                                   tensor.bytes()));
  }
  return tensor;
}

// Every byte of the data section belongs to exactly one tensor.
absl::Status CheckCover(std::vector<SafetensorsEntry> entries, std::int64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.offsets[0], a.offsets[1]) < std::tie(b.offsets[0], b.offsets[1]);
  });
  std::int64_t covered = 0;
  std::string before = "the header";
  for (const SafetensorsEntry& entry : entries) {
    const std::int64_t begin = entry.offsets[0];
    const std::string name = Printable(entry.name);
    if (begin < covered) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, ": data_offsets begin ", begin,
                                                     " overlaps ", before, ", which ends at ", covered));
    }
    if (begin > covered) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, ": data_offsets begin ", begin,
                                                     " leaves a hole after ", before, ", which ends at ",
                                                     covered));
    }
    covered = entry.offsets[1];
    before = name;
  }
  if (covered != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets end at ", covered, ", but the file has ", data_bytes, " data bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TensorTable>> Parse(WeightBytes file) {
  ByteReader reader(file.bytes);
  const std::optional<std::uint64_t> header_bytes = reader.Read<std::uint64_t>();
  if (!header_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("header length needs 8 bytes, the file has ",
                                                   file.bytes.size(), "; not a weight file or cut short"));
  }
  if (*header_bytes == 0) return absl::InvalidArgumentError("header length is 0");
  if (*header_bytes > kHeaderBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("header length is ", *header_bytes, " bytes, at most ",
                                                   kHeaderBytesMax,
                                                   " are allowed; neither safetensors nor a torch file"));
  }
  const std::size_t bytes_after_length = reader.remaining();
  const std::optional<std::string_view> json = reader.TakeText(static_cast<std::size_t>(*header_bytes));
  if (!json) {
    return absl::InvalidArgumentError(absl::StrCat("header length is ", *header_bytes, " bytes, but only ",
                                                   bytes_after_length,
                                                   " bytes follow; not safetensors or cut short"));
  }
  OVI_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseSafetensorsHeader(*json));

  const std::span<const std::byte> data = file.bytes.subspan(reader.position());
  auto table = std::make_unique<TensorTable>(std::move(file));
  for (const SafetensorsEntry& entry : header.entries) {
    absl::StatusOr<HostTensor> tensor = View(entry, data);
    if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat("tensor ", Printable(entry.name)));
    OVI_RETURN_IF_ERROR(table->Add(entry.name, *tensor));
  }
  OVI_RETURN_IF_ERROR(CheckCover(std::move(header.entries), static_cast<std::int64_t>(data.size())));
  table->set_metadata(std::move(header.metadata));
  return table;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TensorTable>> ParseSafetensors(WeightBytes file) {
  const std::string path = file.path;
  absl::StatusOr<std::unique_ptr<TensorTable>> source = Parse(std::move(file));
  if (!source.ok()) return Annotate(source.status(), path);
  return source;
}

}  // namespace ovi
