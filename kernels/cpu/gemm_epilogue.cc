#include "kernels/cpu/gemm_epilogue.h"

#include <cstring>
#include <type_traits>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/dtype.h"

namespace ovi::cpu {
namespace {

enum class Tail { kPlain, kResidual, kGatedResidual };

// One row of the epilogue. Every pointer is at the window's first column; out may be the residual.
template <Activation kActivation, Tail kTail, typename Sum, typename Out, typename Residual>
void FinishRow(const Sum* sums, std::int64_t count, float a_scale, const float* w_scale, const float* bias,
               const float* gate, const Residual* residual, Out* out) {
  const auto round = [](float x) { return ToFloat(FromFloat<Out>(x)); };
// Each element depends on its own index only, also where out is the residual.
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    float y = static_cast<float>(sums[i]);
    if constexpr (std::is_same_v<Sum, std::int32_t>) y = y * a_scale * w_scale[i];
    y = y + bias[i];
    if constexpr (kActivation == Activation::kGeluTanh) y = GeluTanh(round(y));
    if constexpr (kActivation == Activation::kSilu) y = Silu(round(y));
    if constexpr (kTail == Tail::kGatedResidual) y = round(y) * gate[i];
    if constexpr (kTail != Tail::kPlain) y = ToFloat(residual[i]) + round(y);
    out[i] = FromFloat<Out>(y);
  }
}

// The rows of a window lie far apart, which the processor does not foresee: without this a gated layer of
// 1024 rows takes a tenth longer on AMX. The same for `out` gains nothing.
template <typename T>
void PrefetchRow(const T* row, std::int64_t count) {
  constexpr std::int64_t kLine = 64 / std::int64_t{sizeof(T)};
  for (std::int64_t i = 0; i < count; i += kLine) __builtin_prefetch(row + i);
}

template <typename Sum, typename Out, typename Residual, Activation kActivation, Tail kTail>
void FinishRows(const Gemm& op, const GemmWindow& window, const Sum* sums, std::int64_t stride) {
  const std::int64_t n = op.weight->n;
  const auto floats = [&](const Tensor& tensor) {
    return tensor.empty() ? nullptr : reinterpret_cast<const float*>(tensor.data) + window.column;
  };
  // Without a bias the sum is added to -0, which changes nothing, not even the sign of a zero.
  constexpr std::int64_t kColumns = 512;
  std::array<float, kColumns> no_bias;
  no_bias.fill(-0.0f);
  const float* bias = floats(op.bias);
  const float* gate = floats(op.gate);
  const float* w_scale = floats(op.weight->scale);
  const auto* a_scale = reinterpret_cast<const float*>(op.a_scale.data);
  Out* out = reinterpret_cast<Out*>(op.out.data) + ElementOffset(window.row, n, window.column);
  const Residual* residual = reinterpret_cast<const Residual*>(op.residual.data);
  if (residual != nullptr) residual += ElementOffset(window.row, n, window.column);
  RunVectorised([&] {
    for (std::int64_t row = 0; row < window.rows; ++row) {
      constexpr std::int64_t kAhead = 4;
      if (kTail != Tail::kPlain && row + kAhead < window.rows) {
        PrefetchRow(residual + ElementOffset(row + kAhead, n, 0), window.columns);
      }
      for (std::int64_t begin = 0; begin < window.columns; begin += kColumns) {
        const std::int64_t count = window.columns - begin < kColumns ? window.columns - begin : kColumns;
        const std::int64_t at = ElementOffset(row, n, begin);
        const auto shift = [](const auto* pointer, std::int64_t by) {
          return pointer == nullptr ? nullptr : pointer + by;
        };
        FinishRow<kActivation, kTail, Sum, Out, Residual>(
            sums + ElementOffset(row, stride, begin), count,
            a_scale == nullptr ? 1.0f : a_scale[window.row + row], shift(w_scale, begin),
            bias == nullptr ? no_bias.data() : bias + begin, shift(gate, begin), shift(residual, at),
            out + at);
      }
    }
  });
}

template <typename Sum, typename Out, typename Residual>
void ChooseFinish(const Gemm& op, const GemmWindow& window, const Sum* sums, std::int64_t stride) {
  const auto with_tail = [&](auto activation) {
    constexpr Activation kActivation = decltype(activation)::value;
    if (op.residual.empty())
      return FinishRows<Sum, Out, Out, kActivation, Tail::kPlain>(op, window, sums, stride);
    if (op.gate.empty()) {
      return FinishRows<Sum, Out, Residual, kActivation, Tail::kResidual>(op, window, sums, stride);
    }
    return FinishRows<Sum, Out, Residual, kActivation, Tail::kGatedResidual>(op, window, sums, stride);
  };
  switch (op.activation) {
    case Activation::kNone:
      return with_tail(std::integral_constant<Activation, Activation::kNone>{});
    case Activation::kGeluTanh:
      return with_tail(std::integral_constant<Activation, Activation::kGeluTanh>{});
    case Activation::kSilu:
      return with_tail(std::integral_constant<Activation, Activation::kSilu>{});
  }
}

template <typename Sum>
void FinishTyped(const Gemm& op, const GemmWindow& window, const Sum* sums, std::int64_t stride) {
  const bool residual_f32 = op.residual.empty() || op.residual.dtype == DType::kF32;
  if (op.out.dtype == DType::kF32) {
    if (residual_f32) return ChooseFinish<Sum, float, float>(op, window, sums, stride);
    return ChooseFinish<Sum, float, BFloat16>(op, window, sums, stride);
  }
  if (residual_f32) return ChooseFinish<Sum, BFloat16, float>(op, window, sums, stride);
  return ChooseFinish<Sum, BFloat16, BFloat16>(op, window, sums, stride);
}

}  // namespace

void ScaleSums(const Gemm& op, const GemmWindow& window, float* sums, std::int64_t stride) {
  const float* scale = reinterpret_cast<const float*>(op.weight->scale.data) + window.column;
  RunVectorised([&] {
    for (std::int64_t row = 0; row < window.rows; ++row) {
      float* of_row = sums + row * stride;
      for (std::int64_t i = 0; i < window.columns; ++i) of_row[i] *= scale[i];
    }
  });
}

void FinishGemm(const Gemm& op, const GemmWindow& window, const float* sums, std::int64_t stride) {
  FinishTyped(op, window, sums, stride);
}

void FinishGemm(const Gemm& op, const GemmWindow& window, const std::int32_t* sums, std::int64_t stride) {
  FinishTyped(op, window, sums, stride);
}

}  // namespace ovi::cpu
