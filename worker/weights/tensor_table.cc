#include "worker/weights/tensor_table.h"

#include <algorithm>
#include <limits>
#include <new>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/text.h"

namespace ovi {

std::string Printable(std::string_view text) {
  constexpr std::size_t kCharactersMax = 120;
  const std::string_view shown = text.substr(0, kCharactersMax);
  const absl::string_view view(shown.data(), shown.size());
  std::string escaped = IsValidUtf8(shown) ? absl::Utf8SafeCEscape(view) : absl::CHexEscape(view);
  if (text.size() > kCharactersMax) escaped += "...";
  return escaped;
}

absl::StatusOr<Shape> CheckedShape(const std::vector<std::int64_t>& extents, std::int64_t element_bytes) {
  if (extents.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape has ", extents.size(), " axes, at most ", Shape::kMaxRank, " are supported"));
  }
  std::int64_t bytes = element_bytes;
  for (const std::int64_t extent : extents) {
    if (extent < 0) return absl::InvalidArgumentError(absl::StrCat("shape has the negative extent ", extent));
    const std::int64_t factor = std::max<std::int64_t>(extent, 1);
    if (bytes > std::numeric_limits<std::int64_t>::max() / factor) {
      return absl::InvalidArgumentError(absl::StrCat("shape overflows at extent ", extent));
    }
    bytes *= factor;
  }
  return Shape::FromRange(extents.data(), static_cast<int>(extents.size()));
}

std::vector<TensorInfo> TensorTable::List() const {
  std::vector<TensorInfo> list;
  list.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_)
    list.push_back({name, tensor.dtype, tensor.shape, tensor.bytes(), tensor.row_scale != nullptr});
  return list;
}

absl::StatusOr<HostTensor> TensorTable::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(path(), ": no tensor named ", Printable(name)));
  }
  return found->second;
}

absl::Status TensorTable::Add(std::string_view name, const HostTensor& tensor) {
  if (name.empty()) return absl::InvalidArgumentError("a tensor has an empty name");
  if (!IsValidUtf8(name)) {
    return absl::InvalidArgumentError(absl::StrCat("tensor name ", Printable(name), " is not UTF-8"));
  }
  if (!tensors_.try_emplace(std::string(name), tensor).second) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Printable(name), " is there twice"));
  }
  return absl::OkStatus();
}

void TensorTable::SetRowScale(std::string_view name, const void* scale) {
  const auto found = tensors_.find(name);
  OVI_CHECK(found != tensors_.end());
  found->second.row_scale = scale;
}

void TensorTable::Remove(std::string_view name) {
  const auto found = tensors_.find(name);
  OVI_CHECK(found != tensors_.end());
  tensors_.erase(found);
}

absl::StatusOr<std::span<std::byte>> TensorTable::Own(std::int64_t bytes) {
  const auto bytes_max = static_cast<std::int64_t>(file_.bytes.size());
  if (bytes > bytes_max - owned_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat("needs a copy of ", bytes,
                                                     " bytes, but copies are limited to the ", bytes_max,
                                                     " bytes of the file, ", owned_bytes_, " taken"));
  }
  std::byte* memory = new (std::nothrow) std::byte[static_cast<std::size_t>(bytes)];
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("needs a copy of ", bytes, " bytes, which the host has not free"));
  }
  owned_.emplace_back(memory);
  owned_bytes_ += bytes;
  return std::span<std::byte>(memory, static_cast<std::size_t>(bytes));
}

}  // namespace ovi
