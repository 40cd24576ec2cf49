#include "kernels/merge_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/rows.h"

namespace ovi::cpu {
namespace {

// What each part counts for query `t` of head `h`, with sum 1; all 0 where no part has a key.
void WeightsOf(const Tensor& lse, std::int64_t h, std::int64_t t, std::vector<float>& weights) {
  const std::int64_t parts = lse.shape[0];
  const float* values = Floats(lse) + h * lse.shape[2] + t;
  const std::int64_t stride = lse.shape[1] * lse.shape[2];
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float largest = kNone;
  for (std::int64_t p = 0; p < parts; ++p) largest = std::max(largest, values[p * stride]);
  float sum = 0.0f;
  for (std::int64_t p = 0; p < parts; ++p) {
    float& weight = weights[static_cast<std::size_t>(p)];
    weight = largest == kNone ? 0.0f : std::exp(values[p * stride] - largest);
    sum += weight;
  }
  if (sum > 0.0f) {
    for (float& weight : weights) weight /= sum;
  }
}

}  // namespace

void RunMergeAttention(const MergeAttention& op) {
  const std::int64_t parts = op.parts.shape[0];
  const std::int64_t rows = op.parts.shape[1];
  const std::int64_t columns = op.parts.shape[2];
  const std::int64_t heads = op.lse.shape[1];
  const std::int64_t head_dim = columns / heads;
  const DType dtype = op.out.dtype;
  ParallelFor(rows, 4, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> weights(static_cast<std::size_t>(parts));
    std::vector<float> before(static_cast<std::size_t>(head_dim));
    std::vector<float> sum(static_cast<std::size_t>(head_dim));
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t h = 0; h < heads; ++h) {
        WeightsOf(op.lse, h, t, weights);
        std::fill(sum.begin(), sum.end(), 0.0f);
        for (std::int64_t p = 0; p < parts; ++p) {
          const float weight = weights[static_cast<std::size_t>(p)];
          if (weight == 0.0f) continue;  // a part without keys may hold anything
          const float* values = Floats(op.parts) + (p * rows + t) * columns + h * head_dim;
          for (std::size_t c = 0; c < sum.size(); ++c) sum[c] += weight * values[c];
        }
        std::byte* out = op.out.data + (t * columns + h * head_dim) * ElementBytes(dtype);
        if (op.accumulate) {
          RoundRow(dtype, head_dim, sum.data());
          LoadRow(out, dtype, head_dim, before.data());
          for (std::size_t c = 0; c < sum.size(); ++c) sum[c] += before[c];
        }
        StoreRow(sum.data(), dtype, head_dim, out);
      }
    }
  });
}

}  // namespace ovi::cpu
