#include "worker/pipeline/math/guidance.h"

#include <cstddef>

#include "base/check.h"

namespace ovi {

void Guide(std::span<const float> positive, std::span<const float> negative, float scale, Rounding rounding,
           std::span<float> out) {
  OVI_CHECK(positive.size() == out.size() && negative.size() == out.size());
  WithRounding(rounding, [&](auto round) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float difference = round(positive[i] - negative[i]);
      out[i] = round(negative[i] + round(scale * difference));
    }
  });
}

}  // namespace ovi
