// Any bytes as a torch file, and as the pickle in one over storages that do exist: an error, or tensors that
// lie inside the input or in copies no larger than it (every byte of them is read).
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "worker/weights/convert.h"
#include "worker/weights/pickle.h"
#include "worker/weights/torch_file.h"
#include "worker/weights/torch_tensors.h"

namespace {

void ReadAll(const ovi::WeightSource& source) {
  for (const ovi::TensorInfo& info : source.List()) ovi::ToFloats(*source.Find(info.name));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const auto parse : {ovi::ParseTorchZip, ovi::ParseTorchLegacy}) {
    const auto source = parse({"input", bytes, nullptr});
    if (source.ok()) ReadAll(**source);
  }

  const auto pickle = ovi::ParsePickle(bytes);
  if (!pickle.ok()) return 0;
  static const std::array<std::byte, 256> storage{};
  ovi::TensorTable table({"input", bytes, nullptr});
  const auto added = ovi::AddTorchTensors(
      *pickle, [](const ovi::TorchStorage&) { return std::span<const std::byte>(storage); }, table);
  if (added.ok()) ReadAll(table);
  return 0;
}
