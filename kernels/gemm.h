// Linear layer: y = a W^T + bias, then an epilogue that its neighbours would otherwise read and write memory
// for.
//
//   y   = rd(a W^T + bias)             accumulated in f32 (s32 for int8), rd() rounds to out's dtype; the
//                                      scales of a quantised W are applied to the sums, in f32
//   y   = rd(act(y))                   activation in f32
//   out = y                                            without residual
//   out = rd(residual + rd(gate * y))                  with both
//   out = rd(residual + y)                             with residual only
//
// Shapes: a (M, K) f32, bf16 or i8; W (N, K), packed by Stream::Upload; bias, gate (N) f32; out, residual (M,
// N) f32 or bf16. Dtypes: a and W f32 | a and W bf16 | a bf16 and W f8_e4m3 with W.scale (N) f32 | a i8 with
// a_scale (M) f32 and W i8 with W.scale (N) f32, both from quantise.h | a bf16 and W of 4 bits (four_bit.h),
// whose tail takes a_tail (M, R) bf16: its products are part of the sums, R more columns of K. out may be
// residual itself; it may not overlap a. M = 0 is legal. Cost: 2 M N K flop; W is read once for every few
// hundred rows of a. A matrix of f8_e4m3 is widened to bf16, exactly, in pieces on its way into the
// multiplication, one of 4 bits rounded to it: no whole copy exists.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "kernels/four_bit.h"
#include "kernels/tensor.h"

namespace ovi {

enum class Activation { kNone, kGeluTanh, kSilu };

// A (N, K) matrix in the backend's own layout. Backend::AllocateGemmWeight makes it, Stream::Upload fills it.
struct GemmWeight {
  Tensor storage;             // (bytes) u8
  DType dtype = DType::kF32;  // of the values: BF16 where they are kept in 4 bits
  std::int64_t n = 0;
  std::int64_t k = 0;
  Tensor scale;  // (N) f32, quantised only: W = scale * q
  std::optional<FourBitFormat> four_bit = std::nullopt;
};

// Whether matrices of this dtype have a scale a row.
constexpr bool IsQuantised(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kF8E4M3;
}

struct Gemm {
  Tensor a;
  Tensor a_scale;  // int8 only
  Tensor a_tail;   // of a weight with a tail only
  const GemmWeight* weight = nullptr;
  Tensor bias;  // optional
  Activation activation = Activation::kNone;
  Tensor gate;      // optional, needs residual
  Tensor residual;  // optional
  Tensor out;
};

absl::Status Validate(const Gemm& op);

// Whether `src` can be uploaded to `dst`; INTERNAL where not.
absl::Status Validate(const GemmWeight& dst, const FourBitRows& src);

}  // namespace ovi
