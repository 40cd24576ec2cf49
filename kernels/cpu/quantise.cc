#include "kernels/cpu/quantise.h"

#include <bit>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/dtype.h"

namespace ovi::cpu {
namespace {

constexpr float kLargest = 127.0f;

// Half to even, as the contract asks: adding 1.5 * 2^23 leaves the rounded integer in the low bits. A
// division, not a product with the reciprocal, so that x / scale is exact at its ends. Not finite in, any q
// out.
inline std::int8_t QuantiseValue(float x, float scale) {
  constexpr float kRound = 12582912.0f;
  const float ratio = x / scale;
  const float low = ratio < -kLargest ? -kLargest : ratio;
  const float clamped = low > kLargest ? kLargest : low;
  const std::uint32_t rounded = std::bit_cast<std::uint32_t>(clamped + kRound);
  return static_cast<std::int8_t>(rounded & 0xffu);
}

// As an integer: for floats without a sign the order is the same, and an integer maximum vectorises. NaN is
// larger than everything and so reaches the scale.
template <typename T>
float LargestMagnitude(const T* x, std::int64_t count) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(ToFloat(x[i])) & 0x7fffffffu;
    largest = largest > magnitude ? largest : magnitude;
  }
  return std::bit_cast<float>(largest);
}

template <typename T>
float QuantiseOneRow(const T* x, std::int64_t count, std::int8_t* q) {
  const float scale = LargestMagnitude(x, count) / kLargest;
  if (scale == 0.0f) {
    for (std::int64_t i = 0; i < count; ++i) q[i] = 0;
    return 0.0f;
  }
  for (std::int64_t i = 0; i < count; ++i) q[i] = QuantiseValue(ToFloat(x[i]), scale);
  return scale;
}

template <typename T>
void QuantiseTensor(const QuantiseRows& op) {
  const std::int64_t columns = op.x.shape[1];
  const T* x = reinterpret_cast<const T*>(op.x.data);
  auto* q = reinterpret_cast<std::int8_t*>(op.q.data);
  auto* scale = reinterpret_cast<float*>(op.scale.data);
  ParallelFor(op.x.shape[0], 4, [&](std::int64_t begin, std::int64_t end) {
    RunVectorised([&] {
      for (std::int64_t row = begin; row < end; ++row) {
        scale[row] = QuantiseOneRow(x + row * columns, columns, q + row * columns);
      }
    });
  });
}

}  // namespace

float QuantiseRow(const float* x, std::int64_t count, std::int8_t* q) {
  float scale = 0.0f;
  RunVectorised([&] { scale = QuantiseOneRow(x, count, q); });
  return scale;
}

float QuantiseRowE4M3(const float* x, std::int64_t count, std::uint8_t* q) {
  constexpr float kLargestE4M3 = 448.0f;
  float scale = 0.0f;
  RunVectorised([&] {
    scale = LargestMagnitude(x, count) / kLargestE4M3;
    const float divisor = scale == 0.0f ? 1.0f : scale;  // a row of zeros stays one
    for (std::int64_t i = 0; i < count; ++i) q[i] = ToFloat8E4M3(x[i] / divisor);
  });
  return scale;
}

absl::Status RunQuantiseRows(const QuantiseRows& op) {
  if (op.x.dtype == DType::kF32) {
    QuantiseTensor<float>(op);
  } else {
    QuantiseTensor<BFloat16>(op);
  }
  return absl::OkStatus();
}

}  // namespace ovi::cpu
