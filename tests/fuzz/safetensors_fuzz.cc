// Any bytes as a safetensors file: an error or tensors that lie inside the input (every byte of them is
// read).
#include <cstddef>
#include <cstdint>

#include "worker/weights/compressed_source.h"
#include "worker/weights/convert.h"
#include "worker/weights/row_scales.h"
#include "worker/weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto table = ovi::ParseSafetensors({"input", std::as_bytes(std::span(data, size)), nullptr});
  if (!table.ok() || !ovi::AttachRowScales(**table).ok()) return 0;
  const auto source = ovi::GatherCompressed(*std::move(table));
  if (!source.ok()) return 0;
  for (const ovi::TensorInfo& info : (*source)->List()) ovi::ToFloats(*(*source)->Find(info.name));
  return 0;
}
