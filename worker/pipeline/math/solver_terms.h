// The scalars of one solver step, worked out in double from the float32 noise levels and rounded to float32
// once. Pure; any thread. alpha = 1 - sigma, lambda(sigma) = ln alpha - ln sigma, h = the change of lambda
// over a step.
//
// `sigmas` is a Schedule's table, 0 <= i < steps. At sigma = 0 and (DPM++ only) sigma = 1 lambda is infinite;
// the formulas then have the limits they need, without a special case.
#pragma once

#include <span>

namespace ovi {

// A multistep update from sigma_s to sigma_t writes
//   keep * x - gain * m0 - gain * (a second-order term made of slopes),
// m0 being the prediction at sigma_s. A slope is a difference of two successive predictions, newer minus
// older, times inverse_r.
struct MultistepTerms {
  float keep;       // sigma_t / sigma_s
  float gain;       // alpha_t * (exp(-h) - 1), negative
  float inverse_r;  // h over the change of lambda of the step before; 0 at order 1
};

// The predictor of UniPC and of DPM++ 2M alike: step i, from sigma i to sigma i+1, order 1 or 2 (i >= 1).
MultistepTerms PredictorTerms(std::span<const float> sigmas, int i, int order);

struct UniPcCorrectorTerms {
  MultistepTerms step;  // from sigma i-1 to sigma i
  float r0;             // weight of the older difference, 0 at order 1
  float r1;             // weight of the newest difference
};

// UniPC's corrector (bh2), which redoes the step into sigma i once the prediction there is known. i >= 1;
// order 2 needs i >= 2.
UniPcCorrectorTerms CorrectorTerms(std::span<const float> sigmas, int i, int order);

}  // namespace ovi
