#include <algorithm>
#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_math.h"

namespace ovi::cpu {
namespace {

constexpr std::int64_t kTile = 4096;              // elements a pass: three f32 buffers stay in the L1 cache
constexpr std::int64_t kElementsAtLeast = 16384;  // below this a thread costs more than it saves

std::byte* At(const Tensor& tensor, std::int64_t element) {
  return tensor.data + element * ElementBytes(tensor.dtype);
}

// b[(first + i) % b.elements] for i in [0, count).
void LoadRepeated(const Tensor& b, std::int64_t first, std::int64_t count, float* out) {
  const std::int64_t period = b.elements();
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t start = (first + done) % period;
    const std::int64_t run = std::min(count - done, period - start);
    LoadRow(At(b, start), b.dtype, run, out + done);
    done += run;
  }
}

void Apply(const Elementwise& op, std::int64_t count, float* a, const float* b) {
  const float alpha = op.alpha;
  const float beta = op.beta;
  switch (op.kind) {
    case ElementwiseKind::kCast:
      break;
    case ElementwiseKind::kScale:
      for (std::int64_t i = 0; i < count; ++i) a[i] = alpha * a[i];
      break;
    case ElementwiseKind::kAxpby:
      for (std::int64_t i = 0; i < count; ++i) a[i] = alpha * a[i] + beta * b[i];
      break;
    case ElementwiseKind::kMul:
      for (std::int64_t i = 0; i < count; ++i) a[i] = a[i] * b[i];
      break;
    case ElementwiseKind::kSilu:
      for (std::int64_t i = 0; i < count; ++i) a[i] = alpha * Silu(a[i]);
      break;
    case ElementwiseKind::kTanh:
      for (std::int64_t i = 0; i < count; ++i) a[i] = Tanh(a[i]);
      break;
    case ElementwiseKind::kClamp:
      for (std::int64_t i = 0; i < count; ++i) a[i] = std::min(std::max(a[i], alpha), beta);
      break;
    case ElementwiseKind::kSiluMul:
      for (std::int64_t i = 0; i < count; ++i) a[i] = Silu(a[i]);
      RoundRow(op.out.dtype, count, a);
      for (std::int64_t i = 0; i < count; ++i) a[i] *= b[i];
      break;
    case ElementwiseKind::kGeluTanhMul:
      for (std::int64_t i = 0; i < count; ++i) a[i] = GeluTanh(a[i]);
      RoundRow(op.out.dtype, count, a);
      for (std::int64_t i = 0; i < count; ++i) a[i] *= b[i];
      break;
    case ElementwiseKind::kUnitToU8:
      break;  // RunUnitToU8
  }
}

void RunUnitToU8(const Elementwise& op) {
  const float* a = Floats(op.a);
  auto* out = reinterpret_cast<std::uint8_t*>(op.out.data);
  ParallelFor(op.a.elements(), kElementsAtLeast, [&](std::int64_t begin, std::int64_t end) {
    RunVectorised([&] {
      for (std::int64_t i = begin; i < end; ++i) {
        const float unit = std::min(std::max(a[i], -1.0f), 1.0f);
        // A NaN passes min and max; 0 is as good as any pixel for it, but the conversion of NaN is undefined.
        const float level = (unit + 1.0f) / 2.0f * 255.0f;
        out[i] = level >= 0.0f ? static_cast<std::uint8_t>(static_cast<std::int32_t>(level)) : 0;
      }
    });
  });
}

}  // namespace

void RunElementwise(const Elementwise& op) {
  if (op.kind == ElementwiseKind::kUnitToU8) return RunUnitToU8(op);
  ParallelFor(op.a.elements(), kElementsAtLeast, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> buffer(2 * kTile);
    float* a = buffer.data();
    float* b = a + kTile;
    RunVectorised([&] {
      for (std::int64_t first = begin; first < end; first += kTile) {
        const std::int64_t count = std::min(kTile, end - first);
        LoadRow(At(op.a, first), op.a.dtype, count, a);
        if (!op.b.empty()) LoadRepeated(op.b, first, count, b);
        Apply(op, count, a, b);
        StoreRow(a, op.out.dtype, count, At(op.out, first));
      }
    });
  });
}

void RunFill(const Fill& op) {
  ParallelFor(op.out.elements(), kElementsAtLeast, [&](std::int64_t begin, std::int64_t end) {
    if (op.out.dtype == DType::kF32) {
      std::fill(reinterpret_cast<float*>(op.out.data) + begin, reinterpret_cast<float*>(op.out.data) + end,
                op.value);
    } else {
      auto* values = reinterpret_cast<BFloat16*>(op.out.data);
      std::fill(values + begin, values + end, ToBFloat16(op.value));
    }
  });
}

}  // namespace ovi::cpu
