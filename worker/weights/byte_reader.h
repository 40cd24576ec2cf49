// A bounds-checked cursor over little-endian bytes from outside.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace ovi {

static_assert(std::endian::native == std::endian::little,
              "weight files are little-endian and mapped as they are");

// Reads stop at the end: each gives nothing, and does not move, when it asks for more than remains.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  std::optional<std::span<const std::byte>> Take(std::size_t count) {
    if (count > remaining()) return std::nullopt;
    const std::span<const std::byte> taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  std::optional<std::string_view> TakeText(std::size_t count) {
    const auto taken = Take(count);
    if (!taken) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(taken->data()), taken->size());
  }

  template <typename T>
  std::optional<T> Read() {
    const auto taken = Take(sizeof(T));
    if (!taken) return std::nullopt;
    T value;
    std::memcpy(&value, taken->data(), sizeof(T));
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace ovi
