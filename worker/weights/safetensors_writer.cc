#include "worker/weights/safetensors_writer.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "base/check.h"
#include "base/part_file.h"
#include "base/status.h"

namespace ovi {
namespace {

template <typename T>
std::span<const std::uint8_t> Bytes(const T* data, std::size_t count) {
  static_assert(std::endian::native == std::endian::little, "the format is little-endian");
  return {reinterpret_cast<const std::uint8_t*>(data), count * sizeof(T)};
}

}  // namespace

std::string SafetensorsHead(const std::vector<TensorInfo>& tensors,
                            const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t offset = 0;
  for (const TensorInfo& tensor : tensors) {
    std::vector<std::int64_t> extents;
    for (int axis = 0; axis < tensor.shape.rank(); ++axis) extents.push_back(tensor.shape[axis]);
    const std::int64_t end = offset + tensor.shape.elements() * ElementBytes(tensor.dtype);
    header[tensor.name] = {
        {"dtype", DTypeName(tensor.dtype)}, {"shape", extents}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  std::string head(sizeof(std::uint64_t), '\0');
  const std::uint64_t length = text.size();
  std::memcpy(head.data(), &length, sizeof(length));
  return head + text;
}

absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
  std::vector<TensorInfo> entries;
  for (const auto& [name, tensor] : tensors) {
    OVI_CHECK(tensor.shape.elements() == static_cast<std::int64_t>(tensor.values.size()));
    entries.push_back({name, DType::kF32, tensor.shape});
  }
  const std::string head = SafetensorsHead(entries, metadata);
  OVI_RETURN_IF_ERROR(file->Write(Bytes(head.data(), head.size())));
  for (const auto& [name, tensor] : tensors) {
    OVI_RETURN_IF_ERROR(file->Write(Bytes(tensor.values.data(), tensor.values.size())));
  }
  return file->Commit();
}

}  // namespace ovi
