// Builds weight files byte by byte, right ones and wrong ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ovi::test {

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// `value` as the bytes a little-endian file has.
template <typename T>
std::string Le(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
std::string Le(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

inline std::string Safetensors(std::string_view header, std::string_view data) {
  return Le<std::uint64_t>(header.size()).append(header).append(data);
}

// A pickle, opcode by opcode.
class PickleText {
 public:
  std::string text = "\x80\x02";

  PickleText& Raw(std::string_view opcodes) {
    text += opcodes;
    return *this;
  }
  PickleText& String(std::string_view value) {
    text += "X" + Le(static_cast<std::uint32_t>(value.size()));
    return Raw(value);
  }
  PickleText& Int(std::int64_t value) { return Raw("\x8a\x08" + Le(value)); }
  PickleText& Ints(const std::vector<std::int64_t>& values) {
    Raw("(");
    for (const std::int64_t value : values) Int(value);
    return Raw("t");
  }
  PickleText& Global(std::string_view module, std::string_view name) {
    return Raw("c").Raw(module).Raw("\n").Raw(name).Raw("\n");
  }
  PickleText& Storage(std::string_view type, std::string_view key, std::int64_t elements) {
    return Raw("(").String("storage").Global("torch", type).String(key).String("cpu").Int(elements).Raw("tQ");
  }
  // A tensor over a storage of its own.
  PickleText& Tensor(std::string_view type, std::string_view key, std::int64_t storage_elements,
                     std::int64_t offset, const std::vector<std::int64_t>& size,
                     const std::vector<std::int64_t>& stride) {
    Global("torch._utils", "_rebuild_tensor_v2").Raw("(").Storage(type, key, storage_elements).Int(offset);
    return Ints(size).Ints(stride).Raw("\x89").Global("collections", "OrderedDict").Raw(")RtR");
  }
};

// A zip file of stored entries, with every field a test may want wrong.
struct ZipEntryText {
  std::string name;
  std::string contents;
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  bool is_zip64 = false;
  std::string local_name = name;
  std::uint32_t stored_bytes = static_cast<std::uint32_t>(contents.size());
};

inline std::string Zip(const std::vector<ZipEntryText>& entries, bool has_zip64_end = false) {
  constexpr std::uint32_t kIn64 = 0xffffffff;
  std::string file, directory;
  for (const ZipEntryText& entry : entries) {
    const auto name_bytes = static_cast<std::uint16_t>(entry.name.size());
    const auto local_name_bytes = static_cast<std::uint16_t>(entry.local_name.size());
    const auto bytes = static_cast<std::uint32_t>(entry.contents.size());
    const std::uint64_t offset = file.size();
    const std::string extra = entry.is_zip64
                                  ? Le<std::uint16_t>(1) + Le<std::uint16_t>(24) + Le<std::uint64_t>(bytes) +
                                        Le<std::uint64_t>(entry.stored_bytes) + Le(offset)
                                  : "";
    const std::string fields = Le(entry.flags) + Le(entry.method) + Le<std::uint32_t>(0) +
                               Le<std::uint32_t>(0) + Le(entry.is_zip64 ? kIn64 : entry.stored_bytes) +
                               Le(entry.is_zip64 ? kIn64 : bytes);
    file += "PK\3\4" + Le<std::uint16_t>(45) + fields + Le(local_name_bytes) + Le<std::uint16_t>(0) +
            entry.local_name + entry.contents;
    directory += "PK\1\2" + Le<std::uint16_t>(45) + Le<std::uint16_t>(45) + fields + Le(name_bytes) +
                 Le(static_cast<std::uint16_t>(extra.size())) + Le<std::uint16_t>(0) + std::string(8, '\0') +
                 Le(entry.is_zip64 ? kIn64 : static_cast<std::uint32_t>(offset)) + entry.name + extra;
  }
  const std::uint64_t start = file.size(), bytes = directory.size(), count = entries.size();
  file += directory;
  if (has_zip64_end) {
    const std::uint64_t end64 = file.size();
    file += "PK\6\6" + Le<std::uint64_t>(44) + std::string(12, '\0') + Le(count) + Le(count) + Le(bytes) +
            Le(start);
    file += "PK\6\7" + Le<std::uint32_t>(0) + Le(end64) + Le<std::uint32_t>(1);
  }
  const auto short_count = has_zip64_end ? std::uint16_t{0xffff} : static_cast<std::uint16_t>(count);
  return file + "PK\5\6" + Le<std::uint32_t>(0) + Le(short_count) + Le(short_count) +
         Le(has_zip64_end ? kIn64 : static_cast<std::uint32_t>(bytes)) +
         Le(has_zip64_end ? kIn64 : static_cast<std::uint32_t>(start)) + Le<std::uint16_t>(0);
}

}  // namespace ovi::test
