// Rows of f32 or bf16 in and out of f32 buffers, and rounding on the way. Call inside RunVectorised (simd.h).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/tensor.h"

namespace ovi::cpu {

inline void LoadRow(const std::byte* src, DType dtype, std::int64_t count, float* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, src, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  const auto* values = reinterpret_cast<const BFloat16*>(src);
  for (std::int64_t i = 0; i < count; ++i) out[i] = ToFloat(values[i]);
}

inline void StoreRow(const float* row, DType dtype, std::int64_t count, std::byte* dst) {
  if (dtype == DType::kF32) {
    std::memcpy(dst, row, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  auto* values = reinterpret_cast<BFloat16*>(dst);
  for (std::int64_t i = 0; i < count; ++i) values[i] = ToBFloat16(row[i]);
}

// rd() of the contracts: what storing and loading again would do.
inline void RoundRow(DType dtype, std::int64_t count, float* row) {
  if (dtype == DType::kF32) return;
  for (std::int64_t i = 0; i < count; ++i) row[i] = RoundToBFloat16(row[i]);
}

inline std::byte* RowAt(const Tensor& tensor, std::int64_t row, std::int64_t channels) {
  return tensor.data + row * channels * ElementBytes(tensor.dtype);
}

inline const float* Floats(const Tensor& tensor) {
  return reinterpret_cast<const float*>(tensor.data);
}

}  // namespace ovi::cpu
