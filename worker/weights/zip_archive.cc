#include "worker/weights/zip_archive.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/byte_reader.h"
#include "worker/weights/tensor_table.h"

namespace ovi {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEnd64LocatorBytes = 20;
constexpr std::uint16_t kZip64Extra = 1;
constexpr std::uint16_t kIn64Short = 0xffff;     // "see the Zip64 record", in a 16-bit field
constexpr std::uint32_t kIn64Long = 0xffffffff;  // the same in a 32-bit field
constexpr std::uint64_t kEntriesMax =
    1'000'000;  // one tensor is one entry; bounds the index of a hostile file

absl::Status Error(std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("zip: ", std::string(what)));
}

// Fields are read in the order of the format and tested once: after the first miss every later read gives 0.
class Fields {
 public:
  explicit Fields(std::span<const std::byte> bytes) : reader_(bytes) {}

  template <typename T>
  T Next() {
    const auto value = complete_ ? reader_.Read<T>() : std::nullopt;
    complete_ = value.has_value();
    return value.value_or(0);
  }
  void Skip(std::size_t count) { complete_ = complete_ && reader_.Take(count); }
  std::span<const std::byte> Take(std::size_t count) {
    const auto taken = complete_ ? reader_.Take(count) : std::nullopt;
    complete_ = taken.has_value();
    return taken.value_or(std::span<const std::byte>());
  }
  std::string_view Text(std::size_t count) {
    const auto bytes = Take(count);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  bool complete() const { return complete_; }

 private:
  ByteReader reader_;
  bool complete_ = true;
};

// What follows `offset`; nothing when it lies beyond the end.
std::span<const std::byte> From(std::span<const std::byte> file, std::uint64_t offset) {
  return file.subspan(static_cast<std::size_t>(std::min<std::uint64_t>(offset, file.size())));
}

struct Directory {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;
};

// Position of the end record: the last one whose comment reaches to the end of the file.
std::optional<std::size_t> FindEnd(std::span<const std::byte> file) {
  constexpr std::size_t kCommentMax = 0xffff;
  for (std::size_t comment = 0; comment <= kCommentMax && kEndBytes + comment <= file.size(); ++comment) {
    const std::size_t position = file.size() - kEndBytes - comment;
    Fields fields(From(file, position));
    if (fields.Next<std::uint32_t>() != kEndSignature) continue;
    fields.Skip(16);
    if (fields.Next<std::uint16_t>() == comment) return position;
  }
  return std::nullopt;
}

absl::StatusOr<Directory> FindDirectory(std::span<const std::byte> file) {
  const std::optional<std::size_t> end = FindEnd(file);
  if (!end) return Error("no end record; the file is cut short");
  Fields fields(From(file, *end + 4));
  const auto disk = fields.Next<std::uint16_t>();
  fields.Skip(4);  // the directory's disk, entries on this disk
  Directory directory;
  directory.entries = fields.Next<std::uint16_t>();
  directory.bytes = fields.Next<std::uint32_t>();
  directory.offset = fields.Next<std::uint32_t>();
  if (disk != 0 && disk != kIn64Short) return Error(absl::StrCat("disk number is ", disk, ", not 0"));
  if (directory.entries != kIn64Short && directory.bytes != kIn64Long && directory.offset != kIn64Long)
    return directory;

  if (*end < kEnd64LocatorBytes) return Error("no Zip64 locator before the end record");
  Fields locator(From(file, *end - kEnd64LocatorBytes));
  // Without a locator the fields mean what they say: exactly 65535 entries is legal in a plain zip.
  if (locator.Next<std::uint32_t>() != kEnd64LocatorSignature) return directory;
  locator.Skip(4);  // disk of the record
  Fields end64(From(file, locator.Next<std::uint64_t>()));
  const auto signature = end64.Next<std::uint32_t>();
  end64.Skip(8 + 2 + 2 + 4 + 4 + 8);  // record size, versions, disks, entries on this disk
  directory.entries = end64.Next<std::uint64_t>();
  directory.bytes = end64.Next<std::uint64_t>();
  directory.offset = end64.Next<std::uint64_t>();
  if (!end64.complete() || signature != kEnd64Signature)
    return Error("the Zip64 end record is not where its locator says");
  return directory;
}

struct Entry {
  std::string_view name;
  std::uint64_t bytes = 0;
  std::uint64_t offset = 0;  // of its local header
};

// Zip64: the fields that overflowed stand in an extra field, in this order, only those that did.
bool ReadZip64Extra(std::span<const std::byte> extra, std::uint64_t& bytes, std::uint64_t& stored_bytes,
                    std::uint64_t& offset) {
  if (bytes != kIn64Long && stored_bytes != kIn64Long && offset != kIn64Long) return true;
  Fields fields(extra);
  while (fields.complete()) {
    const auto id = fields.Next<std::uint16_t>();
    const auto length = fields.Next<std::uint16_t>();
    Fields wide(fields.Take(length));
    if (!fields.complete() || id != kZip64Extra) continue;
    for (std::uint64_t* field : {&bytes, &stored_bytes, &offset}) {
      if (*field == kIn64Long) *field = wide.Next<std::uint64_t>();
    }
    return wide.complete();
  }
  return false;
}

// Reads the next record of the directory.
absl::StatusOr<Entry> NextEntry(Fields& fields, std::uint64_t index) {
  const auto signature = fields.Next<std::uint32_t>();
  fields.Skip(4);  // versions
  const auto flags = fields.Next<std::uint16_t>();
  const auto method = fields.Next<std::uint16_t>();
  fields.Skip(4 + 4);  // time, CRC
  std::uint64_t stored_bytes = fields.Next<std::uint32_t>();
  std::uint64_t bytes = fields.Next<std::uint32_t>();
  const auto name_bytes = fields.Next<std::uint16_t>();
  const auto extra_bytes = fields.Next<std::uint16_t>();
  const auto comment_bytes = fields.Next<std::uint16_t>();
  fields.Skip(2 + 2 + 4);  // disk, attributes
  std::uint64_t offset = fields.Next<std::uint32_t>();
  const std::string_view name = fields.Text(name_bytes);
  const auto extra = fields.Take(extra_bytes);
  fields.Skip(comment_bytes);
  if (!fields.complete()) return Error(absl::StrCat("directory entry ", index, " is cut short"));
  if (signature != kCentralSignature)
    return Error(absl::StrCat("directory entry ", index, " has no signature"));

  const std::string shown = Printable(name);
  if ((flags & 1) != 0) return Error(absl::StrCat("entry ", shown, " is encrypted"));
  if (method != 0)
    return Error(absl::StrCat("entry ", shown, " is compressed (method ", method, "), not stored"));
  if (!ReadZip64Extra(extra, bytes, stored_bytes, offset)) {
    return Error(absl::StrCat("entry ", shown, " has no valid Zip64 sizes"));
  }
  if (bytes != stored_bytes) {
    return Error(absl::StrCat("entry ", shown, " is stored, yet has ", stored_bytes, " bytes for ", bytes));
  }
  return Entry{name, bytes, offset};
}

absl::StatusOr<std::span<const std::byte>> Contents(std::span<const std::byte> file, const Entry& entry) {
  Fields fields(From(file, entry.offset));
  const auto signature = fields.Next<std::uint32_t>();
  fields.Skip(22);  // what the directory said already
  const auto name_bytes = fields.Next<std::uint16_t>();
  const auto extra_bytes = fields.Next<std::uint16_t>();
  const std::string_view name = fields.Text(name_bytes);
  fields.Skip(extra_bytes);
  if (!fields.complete() || signature != kLocalSignature || name != entry.name) {
    return Error(absl::StrCat("entry ", Printable(entry.name), " is not at its offset ", entry.offset));
  }
  const auto contents = entry.bytes <= file.size() ? fields.Take(static_cast<std::size_t>(entry.bytes))
                                                   : fields.Take(file.size() + 1);
  if (!fields.complete()) {
    return Error(absl::StrCat("entry ", Printable(entry.name), " of ", entry.bytes, " bytes is cut short"));
  }
  return contents;
}

}  // namespace

absl::StatusOr<ZipEntries> ReadZipEntries(std::span<const std::byte> file) {
  OVI_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(file));
  if (directory.entries > kEntriesMax) {
    return Error(absl::StrCat(directory.entries, " entries, at most ", kEntriesMax, " are supported"));
  }
  const std::span<const std::byte> rest = From(file, directory.offset);
  if (directory.bytes > rest.size()) {
    return Error(absl::StrCat("directory of ", directory.bytes, " bytes at ", directory.offset,
                              " is beyond the file"));
  }
  Fields fields(rest.first(static_cast<std::size_t>(directory.bytes)));
  ZipEntries entries;
  for (std::uint64_t index = 0; index < directory.entries; ++index) {
    OVI_ASSIGN_OR_RETURN(const Entry entry, NextEntry(fields, index));
    OVI_ASSIGN_OR_RETURN(const std::span<const std::byte> contents, Contents(file, entry));
    if (!entries.try_emplace(entry.name, contents).second) {
      return Error(absl::StrCat("entry ", Printable(entry.name), " is there twice"));
    }
  }
  return entries;
}

}  // namespace ovi
