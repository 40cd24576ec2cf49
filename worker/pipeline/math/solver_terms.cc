#include "worker/pipeline/math/solver_terms.h"

#include <cmath>
#include <cstddef>

namespace ovi {
namespace {

double Lambda(double sigma) {
  return std::log(1 - sigma) - std::log(sigma);
}

struct Step {
  double keep;
  double gain;
  double h;
};

Step StepBetween(double sigma_s, double sigma_t) {
  const double h = Lambda(sigma_t) - Lambda(sigma_s);
  return {sigma_t / sigma_s, (1 - sigma_t) * std::expm1(-h), h};
}

double At(std::span<const float> sigmas, int i) {
  return sigmas[static_cast<std::size_t>(i)];
}

}  // namespace

MultistepTerms PredictorTerms(std::span<const float> sigmas, int i, int order) {
  const Step step = StepBetween(At(sigmas, i), At(sigmas, i + 1));
  double inverse_r = 0;
  if (order == 2) inverse_r = step.h / (Lambda(At(sigmas, i)) - Lambda(At(sigmas, i - 1)));
  return {static_cast<float>(step.keep), static_cast<float>(step.gain), static_cast<float>(inverse_r)};
}

UniPcCorrectorTerms CorrectorTerms(std::span<const float> sigmas, int i, int order) {
  // The same step as the predictor's that led here.
  const MultistepTerms terms = PredictorTerms(sigmas, i - 1, order);
  if (order == 1) return {terms, 0.0f, 0.5f};
  const double h = Lambda(At(sigmas, i)) - Lambda(At(sigmas, i - 1));
  const double rk = (Lambda(At(sigmas, i - 2)) - Lambda(At(sigmas, i - 1))) / h;
  const double p = std::expm1(-h);
  const double g2 = p / -h - 1;
  const double b1 = g2 / p;
  const double b2 = (g2 / -h - 0.5) * 2 / p;
  // The 2x2 system [1 1; rk 1] [r0; r1] = [b1; b2].
  const double r0 = (b1 - b2) / (1 - rk);
  return {terms, static_cast<float>(r0), static_cast<float>(b1 - r0)};
}

}  // namespace ovi
