#include "worker/weights/safetensors_writer.h"

#include <bit>
#include <cstdint>
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

std::string Header(const std::map<std::string, NamedTensor>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    OVI_CHECK(tensor.shape.elements() == static_cast<std::int64_t>(tensor.values.size()));
    std::vector<std::int64_t> extents;
    for (int axis = 0; axis < tensor.shape.rank(); ++axis) extents.push_back(tensor.shape[axis]);
    const std::int64_t end = offset + tensor.shape.elements() * ElementBytes(DType::kF32);
    header[name] = {{"dtype", "F32"}, {"shape", extents}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  return text;
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, NamedTensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<PartFile> file, PartFile::Create(path));
  const std::string header = Header(tensors, metadata);
  const std::uint64_t length = header.size();
  OVI_RETURN_IF_ERROR(file->Write(Bytes(&length, 1)));
  OVI_RETURN_IF_ERROR(file->Write(Bytes(header.data(), header.size())));
  for (const auto& [name, tensor] : tensors) {
    OVI_RETURN_IF_ERROR(file->Write(Bytes(tensor.values.data(), tensor.values.size())));
  }
  return file->Commit();
}

}  // namespace ovi
