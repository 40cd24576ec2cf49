// Classifier-free guidance: one velocity out of the positive and the negative prediction. Pure; any thread.
#pragma once

#include <span>

#include "worker/pipeline/math/rounding.h"

namespace ovi {

// out = negative + scale * (positive - negative), each of the three operations rounded. All spans have one
// size; `out` may be `positive` or `negative`. Video and audio have a scale each.
void Guide(std::span<const float> positive, std::span<const float> negative, float scale, Rounding rounding,
           std::span<float> out);

}  // namespace ovi
