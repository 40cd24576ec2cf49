#include "worker/weights/convert.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/check.h"
#include "kernels/dtype.h"

namespace ovi {
namespace {

// Loads by memcpy: a tensor in a mapped file may start at any byte.
template <typename Stored, typename Widen>
void WidenAll(const std::byte* data, std::span<float> out, const Widen& widen) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, data + i * sizeof(Stored), sizeof(Stored));
    out[i] = widen(stored);
  }
}

}  // namespace

std::vector<float> ToFloats(const HostTensor& tensor) {
  std::vector<float> floats(static_cast<std::size_t>(tensor.elements()));
  ToFloats(tensor, 0, floats);
  return floats;
}

namespace {

void ScaleRows(const HostTensor& tensor, std::int64_t first_element, std::span<float> values) {
  const std::int64_t columns = tensor.elements() / tensor.shape[0];
  const auto* scales = static_cast<const std::byte*>(tensor.row_scale);
  std::size_t at = 0;
  for (std::int64_t element = first_element; at < values.size();) {
    const std::int64_t row = element / columns;
    const auto end = std::min(values.size(), at + static_cast<std::size_t>((row + 1) * columns - element));
    float scale = 0;
    std::memcpy(&scale, scales + row * std::int64_t{sizeof(float)}, sizeof(float));
    element += static_cast<std::int64_t>(end - at);
    for (; at < end; ++at) values[at] *= scale;
  }
}

void WidenStored(const HostTensor& tensor, std::int64_t first_element, std::span<float> out) {
  const std::byte* data =
      static_cast<const std::byte*>(tensor.data) + first_element * ElementBytes(tensor.dtype);
  const auto cast = [](auto integer) { return static_cast<float>(integer); };
  switch (tensor.dtype) {
    case DType::kF32:
      std::memcpy(out.data(), data, out.size_bytes());
      return;
    case DType::kBF16:
      return WidenAll<BFloat16>(data, out, [](BFloat16 x) { return ToFloat(x); });
    case DType::kF16:
      return WidenAll<std::uint16_t>(data, out, HalfToFloat);
    case DType::kF8E4M3:
      return WidenAll<std::uint8_t>(data, out, Float8E4M3ToFloat);
    case DType::kI8:
      return WidenAll<std::int8_t>(data, out, cast);
    case DType::kU8:
      return WidenAll<std::uint8_t>(data, out, cast);
    case DType::kI32:
      return WidenAll<std::int32_t>(data, out, cast);
    case DType::kI64:
      return WidenAll<std::int64_t>(data, out, cast);
  }
}

}  // namespace

void ToFloats(const HostTensor& tensor, std::int64_t first_element, std::span<float> out) {
  const auto count = static_cast<std::int64_t>(out.size());
  OVI_CHECK(first_element >= 0 && first_element <= tensor.elements() &&
            count <= tensor.elements() - first_element);
  if (count == 0) return;
  WidenStored(tensor, first_element, out);
  if (tensor.row_scale != nullptr) ScaleRows(tensor, first_element, out);
}

}  // namespace ovi
