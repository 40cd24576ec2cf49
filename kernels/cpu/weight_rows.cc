#include "kernels/cpu/weight_rows.h"

#include <cstring>

#include "base/check.h"
#include "kernels/cpu/simd.h"

namespace ovi::cpu {
namespace {

template <typename Stored, typename Out, typename ToFloatFunction>
void ConvertAll(const std::byte* data, std::int64_t count, Out* out, const ToFloatFunction& to_float) {
  RunVectorised([&] {
    for (std::int64_t i = 0; i < count; ++i) {
      Stored stored;
      std::memcpy(&stored, data + i * std::int64_t{sizeof(Stored)}, sizeof(Stored));
      out[i] = FromFloat<Out>(to_float(stored));
    }
  });
}

template <typename Out>
void ConvertStored(const HostTensor& src, std::int64_t row, Out* out) {
  const std::int64_t count = src.shape[1];
  const std::byte* data = static_cast<const std::byte*>(src.data) + row * count * ElementBytes(src.dtype);
  switch (src.dtype) {
    case DType::kF32:
      return ConvertAll<float>(data, count, out, [](float x) { return x; });
    case DType::kBF16:
      return ConvertAll<BFloat16>(data, count, out, [](BFloat16 x) { return ToFloat(x); });
    case DType::kF16:
      return ConvertAll<std::uint16_t>(data, count, out, [](std::uint16_t x) { return HalfToFloat(x); });
    case DType::kF8E4M3: {
      const float* table = Float8E4M3Table().data();
      return ConvertAll<std::uint8_t>(data, count, out, [table](std::uint8_t x) { return table[x]; });
    }
    case DType::kI8: {
      return ConvertAll<std::int8_t>(data, count, out, [](std::int8_t x) { return static_cast<float>(x); });
    }
    default:
      OVI_CHECK(false);
  }
}

// Of a quantised row, whose stored values are exact in f32 and bf16 alike.
template <typename Out>
void ScaleRow(float scale, std::int64_t count, Out* out) {
  RunVectorised([&] {
    for (std::int64_t i = 0; i < count; ++i) out[i] = FromFloat<Out>(ToFloat(out[i]) * scale);
  });
}

template <typename Out>
void ConvertRow(const HostTensor& src, std::int64_t row, Out* out) {
  ConvertStored(src, row, out);
  if (src.row_scale != nullptr) ScaleRow(WeightRowScale(src, row), src.shape[1], out);
}

}  // namespace

const std::array<float, 256>& Float8E4M3Table() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (unsigned byte = 0; byte < 256; ++byte)
      values[byte] = Float8E4M3ToFloat(static_cast<std::uint8_t>(byte));
    return values;
  }();
  return table;
}

FourBitRow RowOf(const FourBitRows& src, std::int64_t index) {
  const auto row = [&](const HostTensor& tensor) {
    const std::int64_t bytes = tensor.data == nullptr ? 0 : tensor.shape[1] * ElementBytes(tensor.dtype);
    return static_cast<const std::byte*>(tensor.data) + index * bytes;
  };
  return {reinterpret_cast<const std::uint8_t*>(row(src.q)), row(src.scale), row(src.up)};
}

float WeightRowScale(const HostTensor& src, std::int64_t row) {
  if (src.row_scale == nullptr) return 1.0f;
  float scale = 0;
  std::memcpy(&scale, static_cast<const std::byte*>(src.row_scale) + row * std::int64_t{sizeof(float)},
              sizeof(float));
  return scale;
}

void ConvertWeightRow(const HostTensor& src, std::int64_t row, float* out) {
  ConvertRow(src, row, out);
}

void ConvertWeightRow(const HostTensor& src, std::int64_t row, BFloat16* out) {
  if (src.dtype != DType::kBF16) return ConvertRow(src, row, out);
  const std::int64_t bytes = src.shape[1] * ElementBytes(DType::kBF16);
  std::memcpy(out, static_cast<const std::byte*>(src.data) + row * bytes, static_cast<std::size_t>(bytes));
}

}  // namespace ovi::cpu
