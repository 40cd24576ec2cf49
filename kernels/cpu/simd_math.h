// Exponential functions on floats, written so that loops over them vectorise: no branches, calls or tables.
//
// Relative error against the exact value, where that is above 1e-30: Exp 1e-7, Tanh 2e-7, Silu 4e-7, GeluTanh
// 5e-7 for x > -2 and up to 2e-5 in its far tail, where |result| < 1e-4. NaN gives NaN. Exp and Tanh take
// infinities; Silu(-inf) and GeluTanh(-inf) are NaN, as in PyTorch.
//
// Run the loops inside RunVectorised (simd.h). Compile them with -O3 -fno-math-errno -fno-trapping-math (at
// -O2 GCC 12 leaves loops of unknown length scalar), never with -ffast-math, which breaks the roundings
// below.
#pragma once

#include <bit>
#include <cstdint>

namespace ovi::cpu {
namespace simd_math_internal {

// x = n ln2 + r with |r| <= ln2 / 2. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
struct Reduced {
  std::int32_t n;
  float r;
};
inline Reduced ReduceByLn2(float x) {
  constexpr float kRound = 12582912.0f;
  constexpr float kLn2High = 0.693359375f;  // 10 bits: n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  return {std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound), r};
}

// exp(r) - 1 on |r| <= ln2 / 2: minimax, 1.4e-8 before rounding.
inline float ExpMinus1Reduced(float r) {
  float p = 1.3946496542e-03f;
  p = p * r + 8.3666106244e-03f;
  p = p * r + 4.1666281405e-02f;
  p = p * r + 1.6666542794e-01f;
  p = p * r + 5.0000000621e-01f;
  return p * r * r + r;
}

// 2^n for -126 <= n <= 127.
inline float PowerOf2(std::int32_t n) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23);
}

}  // namespace simd_math_internal

// exp(x); subnormal results are exact to their last bit or so, 0 below -104, +inf above 88.73.
inline float Exp(float x) {
  // Comparisons with NaN are false, so a NaN passes both.
  const float low = x < -104.0f ? -104.0f : x;
  const float clamped = low > 89.0f ? 89.0f : low;
  const auto [n, r] = simd_math_internal::ReduceByLn2(clamped);
  const float e = simd_math_internal::ExpMinus1Reduced(r) + 1.0f;
  // Two factors, since 2^n itself leaves the float range at both ends.
  const std::int32_t half = n >> 1;
  return e * simd_math_internal::PowerOf2(half) * simd_math_internal::PowerOf2(n - half);
}

// tanh(x) = t / (t + 2) with t = exp(2|x|) - 1, which loses nothing near 0.
inline float Tanh(float x) {
  constexpr std::uint32_t kSign = 0x80000000u;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const float magnitude = std::bit_cast<float>(bits & ~kSign);
  const float clamped = magnitude > 9.2f ? 9.2f : magnitude;  // tanh(9.1) rounds to 1
  const auto [n, r] = simd_math_internal::ReduceByLn2(2.0f * clamped);
  const float power = simd_math_internal::PowerOf2(n & 63);  // & 63: a NaN leaves any n
  const float t = simd_math_internal::ExpMinus1Reduced(r) * power + (power - 1.0f);
  const float y = t / (t + 2.0f);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(y) | (bits & kSign));
}

// x * sigmoid(x).
inline float Silu(float x) {
  return x / (1.0f + Exp(-x));
}

// x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), as x * sigmoid(2u): no cancellation for negative x.
inline float GeluTanh(float x) {
  constexpr float kMinus2SqrtTwoOverPi = -1.5957691216057308f;
  return x / (1.0f + Exp(kMinus2SqrtTwoOverPi * (x + 0.044715f * (x * x * x))));
}

}  // namespace ovi::cpu
