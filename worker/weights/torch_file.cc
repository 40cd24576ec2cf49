#include "worker/weights/torch_file.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/byte_reader.h"
#include "worker/weights/pickle.h"
#include "worker/weights/torch_tensors.h"
#include "worker/weights/zip_archive.h"

namespace ovi {
namespace {

using Kind = PickleValue::Kind;
using namespace std::string_view_literals;

constexpr std::string_view kZipStart = "PK\3\4"sv;
// How the pickle of the magic number 0x1950a86a20f9469cfc6c ends: LONG1 of 10 bytes, STOP. Before it stand
// the protocol and, from protocol 4 on, a frame.
constexpr std::string_view kLegacyMagic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."sv;
constexpr std::size_t kLegacyMagicStartMax = 2 + 9;
constexpr std::int64_t kLegacyVersion = 1001;

absl::Status Error(std::string_view what) {
  return absl::InvalidArgumentError(std::string(what));
}

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Where the pickle after the magic number begins; nothing when there is no such number.
std::optional<std::size_t> LegacyMagicEnd(std::span<const std::byte> file) {
  const std::string_view start = AsText(file).substr(0, kLegacyMagicStartMax + kLegacyMagic.size());
  const std::size_t found = start.find(kLegacyMagic);
  if (!start.starts_with('\x80') || found == std::string_view::npos) return std::nullopt;
  return found + kLegacyMagic.size();
}

// The folder that holds the archive: "<name>/" of the one entry "<name>/data.pkl".
absl::StatusOr<std::string_view> ArchiveFolder(const ZipEntries& entries) {
  constexpr std::string_view kPickleName = "/data.pkl";
  std::optional<std::string_view> folder;
  for (const auto& [name, contents] : entries) {
    if (!name.ends_with(kPickleName) || name.find('/') != name.size() - kPickleName.size()) continue;
    if (folder) return Error(absl::StrCat("two archives, ", Printable(*folder), " and ", Printable(name)));
    folder = name.substr(0, name.size() - kPickleName.size() + 1);
  }
  if (!folder) return Error("no entry data.pkl: a zip file, but not one of torch.save");
  return *folder;
}

absl::StatusOr<std::unique_ptr<TensorTable>> ParseZip(WeightBytes file) {
  OVI_ASSIGN_OR_RETURN(const ZipEntries entries, ReadZipEntries(file.bytes));
  OVI_ASSIGN_OR_RETURN(const std::string_view folder, ArchiveFolder(entries));
  const auto entry_named = [&](std::string_view name) {
    return entries.find(std::string(folder).append(name));
  };

  if (const auto order = entry_named("byteorder");
      order != entries.end() && AsText(order->second) != "little") {
    return Error(absl::StrCat("byteorder is ", Printable(AsText(order->second)), ", not little"));
  }
  const std::span<const std::byte> object = entry_named("data.pkl")->second;
  absl::StatusOr<Pickle> pickle = ParsePickle(object);
  if (!pickle.ok()) return Annotate(pickle.status(), "data.pkl");
  if (pickle->bytes != object.size())
    return Error(absl::StrCat("data.pkl: ", object.size() - pickle->bytes, " bytes after STOP"));

  const auto storage_bytes = [&](const TorchStorage& storage) -> absl::StatusOr<std::span<const std::byte>> {
    const auto entry = entry_named(std::string("data/").append(storage.key));
    if (entry == entries.end())
      return Error(absl::StrCat("storage ", Printable(storage.key), " is not in the zip"));
    return entry->second;
  };
  auto table = std::make_unique<TensorTable>(std::move(file));
  OVI_RETURN_IF_ERROR(AddTorchTensors(*pickle, storage_bytes, *table));
  return table;
}

// The next pickle of the stream.
absl::StatusOr<Pickle> NextPickle(ByteReader& reader, std::string_view what) {
  const std::size_t start = reader.position();
  ByteReader rest = reader;
  absl::StatusOr<Pickle> pickle = ParsePickle(*rest.Take(rest.remaining()));
  if (!pickle.ok()) return Annotate(pickle.status(), absl::StrCat(std::string(what), " at byte ", start));
  reader.Take(pickle->bytes);
  return pickle;
}

absl::Status CheckSystemInfo(const Pickle& pickle) {
  const PickleValue& root = pickle.at(pickle.root);
  const PickleValue* little = root.kind == Kind::kDict ? pickle.Get(root, "little_endian") : nullptr;
  if (little == nullptr || little->kind != Kind::kBool)
    return Error("system info has no field little_endian");
  if (little->integer == 0) return Error("system info: the file is big-endian, which is not supported");
  return absl::OkStatus();
}

using StorageMap = std::map<std::string_view, std::span<const std::byte>>;

// The storages that follow the key list. Their element size stands in the object pickle only.
absl::StatusOr<StorageMap> ReadStorages(const Pickle& object, const Pickle& keys, ByteReader& reader) {
  std::map<std::string_view, TorchStorage> declared;
  for (const PickleValue& value : object.values) {
    if (value.kind != Kind::kPersistentId) continue;
    OVI_ASSIGN_OR_RETURN(const TorchStorage storage, ReadTorchStorage(object, value));
    const TorchStorage& first = declared.try_emplace(storage.key, storage).first->second;
    if (first.type != storage.type || first.elements != storage.elements) {
      return Error(absl::StrCat("storage ", Printable(storage.key), " is declared twice, differently"));
    }
  }
  const PickleValue& list = keys.at(keys.root);
  if (list.kind != Kind::kList) return Error("the storage keys are not a list");
  StorageMap storages;
  for (const PickleId id : list.items) {
    const PickleValue& key = keys.at(id);
    const auto storage = key.kind == Kind::kString ? declared.find(key.text) : declared.end();
    if (storage == declared.end()) return Error("the storage keys name one that no tensor uses");
    const std::string name = absl::StrCat("storage ", Printable(key.text));
    const auto elements = reader.Read<std::int64_t>();
    if (!elements) return Error(absl::StrCat(name, ": the element count is cut short"));
    if (*elements != storage->second.elements) {
      return Error(
          absl::StrCat(name, ": ", *elements, " elements, but the object says ", storage->second.elements));
    }
    const auto contents = reader.Take(static_cast<std::size_t>(storage->second.bytes()));
    if (!contents) {
      return Error(absl::StrCat(name, " of ", storage->second.bytes(),
                                " bytes is cut short: ", reader.remaining(), " follow"));
    }
    if (!storages.try_emplace(key.text, *contents).second)
      return Error(absl::StrCat(name, " is there twice"));
  }
  if (reader.remaining() != 0)
    return Error(absl::StrCat(reader.remaining(), " bytes after the last storage"));
  return storages;
}

absl::StatusOr<std::unique_ptr<TensorTable>> ParseLegacy(WeightBytes file) {
  const std::optional<std::size_t> magic_end = LegacyMagicEnd(file.bytes);
  if (!magic_end) return Error("no magic number of a legacy torch file");
  ByteReader reader(file.bytes);
  reader.Take(*magic_end);
  OVI_ASSIGN_OR_RETURN(const Pickle version, NextPickle(reader, "protocol version"));
  const PickleValue& number = version.at(version.root);
  if (number.kind != Kind::kInt || number.integer != kLegacyVersion) {
    return Error(absl::StrCat("protocol version is ", number.integer, ", not ", kLegacyVersion));
  }
  OVI_ASSIGN_OR_RETURN(const Pickle system, NextPickle(reader, "system info"));
  OVI_RETURN_IF_ERROR(CheckSystemInfo(system));
  OVI_ASSIGN_OR_RETURN(const Pickle object, NextPickle(reader, "object"));
  OVI_ASSIGN_OR_RETURN(const Pickle keys, NextPickle(reader, "storage keys"));
  OVI_ASSIGN_OR_RETURN(const StorageMap storages, ReadStorages(object, keys, reader));

  const auto storage_bytes = [&](const TorchStorage& storage) -> absl::StatusOr<std::span<const std::byte>> {
    const auto found = storages.find(storage.key);
    if (found == storages.end())
      return Error(absl::StrCat("storage ", Printable(storage.key), " is not in the file"));
    return found->second;
  };
  auto table = std::make_unique<TensorTable>(std::move(file));
  OVI_RETURN_IF_ERROR(AddTorchTensors(object, storage_bytes, *table));
  return table;
}

absl::StatusOr<std::unique_ptr<TensorTable>> WithPath(
    WeightBytes file, absl::StatusOr<std::unique_ptr<TensorTable>> (*parse)(WeightBytes)) {
  const std::string path = file.path;
  absl::StatusOr<std::unique_ptr<TensorTable>> source = parse(std::move(file));
  if (!source.ok()) return Annotate(source.status(), path);
  return source;
}

}  // namespace

bool IsTorchZip(std::span<const std::byte> file) {
  return AsText(file).starts_with(kZipStart);
}
bool IsTorchLegacy(std::span<const std::byte> file) {
  return LegacyMagicEnd(file).has_value();
}

absl::StatusOr<std::unique_ptr<TensorTable>> ParseTorchZip(WeightBytes file) {
  return WithPath(std::move(file), ParseZip);
}
absl::StatusOr<std::unique_ptr<TensorTable>> ParseTorchLegacy(WeightBytes file) {
  return WithPath(std::move(file), ParseLegacy);
}

}  // namespace ovi
