// Pointwise functions. f32 inside, one rounding to out's dtype. out may be a (when the dtypes are equal).
//
//   kCast         out = a
//   kScale        out = alpha a
//   kAxpby        out = alpha a + beta b
//   kMul          out = a b
//   kSilu         out = alpha a / (1 + exp(-a))
//   kTanh         out = tanh(a)
//   kClamp        out = min(max(a, alpha), beta)
//   kSiluMul      out = rd(silu(a)) b
//   kGeluTanhMul  out = rd(gelu_tanh(a)) b
//   kUnitToU8     out = trunc((clamp(a, -1, 1) + 1) / 2 * 255), u8 from f32
//
// Shapes: a, out alike; b alike or, with fewer elements, repeated over a's leading axes (b.elements divides
// a.elements). Dtypes: a, b, out f32 or bf16 each, but for kUnitToU8.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

enum class ElementwiseKind {
  kCast,
  kScale,
  kAxpby,
  kMul,
  kSilu,
  kTanh,
  kClamp,
  kSiluMul,
  kGeluTanhMul,
  kUnitToU8
};

struct Elementwise {
  ElementwiseKind kind = ElementwiseKind::kCast;
  Tensor a;
  Tensor b;  // kAxpby, kMul, kSiluMul, kGeluTanhMul
  float alpha = 1.0f;
  float beta = 1.0f;
  Tensor out;
};

absl::Status Validate(const Elementwise& op);

}  // namespace ovi
