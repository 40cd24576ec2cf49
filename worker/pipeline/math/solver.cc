#include "worker/pipeline/math/solver.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/pipeline/math/solver_terms.h"

namespace ovi {
namespace {

// keep * x - gain * m: what a step of order 1 comes to.
template <typename Round>
float FirstOrder(const MultistepTerms& terms, float x, float m, Round round) {
  return round(round(terms.keep * x) - round(terms.gain * m));
}

// How the prediction changes, on the scale of this step.
template <typename Round>
float Slope(const MultistepTerms& terms, float older, float newer, Round round) {
  return round(round(newer - older) * terms.inverse_r);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Solver>> Solver::Make(SolverKind kind, int steps, double shift,
                                                     Rounding rounding) {
  OVI_ASSIGN_OR_RETURN(Schedule schedule, MakeSchedule(kind, steps, shift));
  return std::unique_ptr<Solver>(new Solver(kind, std::move(schedule), rounding));
}

void Solver::Step(int i, std::span<const float> velocity, std::span<float> sample) {
  OVI_CHECK(i == state_.next_step && i < steps());
  OVI_CHECK(velocity.size() == sample.size());
  OVI_CHECK(state_.predictions.empty() || state_.predictions[0].size() == sample.size());
  switch (kind_) {
    case SolverKind::kUniPc:
      StepUniPc(velocity, sample);
      break;
    case SolverKind::kDpmPlusPlus:
      StepDpm(velocity, sample);
      break;
    case SolverKind::kEuler:
      StepEuler(velocity, sample);
      break;
  }
  ++state_.next_step;
}

// Puts the prediction of the clean sample, x - sigma * v, in front of predictions.
void Solver::Predict(std::span<const float> velocity, std::span<const float> sample) {
  const float sigma = schedule_.sigmas[static_cast<std::size_t>(state_.next_step)];
  std::vector<float> prediction(sample.size());
  WithRounding(rounding_, [&](auto round) {
    for (std::size_t k = 0; k < sample.size(); ++k)
      prediction[k] = round(sample[k] - round(sigma * velocity[k]));
  });
  state_.predictions.insert(state_.predictions.begin(), std::move(prediction));
}

int Solver::UniPcOrder(int i) const {
  return std::min({2, steps() - i, i + 1});
}

std::size_t Solver::PredictionsKept() const {
  switch (kind_) {
    case SolverKind::kUniPc:
      return 2;
    case SolverKind::kDpmPlusPlus:
      return 1;
    case SolverKind::kEuler:
      return 0;
  }
  return 0;
}

// Predict-correct: the prediction m0 is made from the uncorrected sample; the corrector then redoes the step
// that led here with m0 in it, and the predictor goes on from the corrected sample.
void Solver::StepUniPc(std::span<const float> velocity, std::span<float> sample) {
  const int i = state_.next_step;
  Predict(velocity, sample);
  const std::vector<std::vector<float>>& m = state_.predictions;
  const float* m0 = m[0].data();
  const float* m1 = m[std::min<std::size_t>(1, m.size() - 1)].data();

  if (i > 0) {
    // At order 1 inverse_r and r0 are 0, and the older difference is that of a prediction with itself.
    const float* m2 = m[m.size() - 1].data();
    UniPcCorrectorTerms terms = CorrectorTerms(schedule_.sigmas, i, UniPcOrder(i - 1));
    if (rounding_ == Rounding::kBf16AsExecuted) {
      terms.r0 = RoundToBFloat16(terms.r0);
      terms.r1 = RoundToBFloat16(terms.r1);
    }
    const float* last = state_.last_sample.data();
    WithRounding(rounding_, [&](auto round) {
      for (std::size_t k = 0; k < sample.size(); ++k) {
        const float base = FirstOrder(terms.step, last[k], m1[k], round);
        const float older = round(terms.r0 * Slope(terms.step, m2[k], m1[k], round));
        const float newest = round(terms.r1 * round(m0[k] - m1[k]));
        sample[k] = round(base - round(terms.step.gain * round(older + newest)));
      }
    });
  }
  state_.last_sample.assign(sample.begin(), sample.end());

  const MultistepTerms terms = PredictorTerms(schedule_.sigmas, i, UniPcOrder(i));
  WithRounding(rounding_, [&](auto round) {
    for (std::size_t k = 0; k < sample.size(); ++k) {
      const float base = FirstOrder(terms, sample[k], m0[k], round);
      const float slope = round(0.5f * Slope(terms, m1[k], m0[k], round));
      sample[k] = round(base - round(terms.gain * slope));
    }
  });
  if (state_.predictions.size() > PredictionsKept()) state_.predictions.resize(PredictionsKept());
}

// The predictions are bf16 tensors in the original, the sample is widened to float32 for the update: only
// products and differences of predictions are rounded, and the result.
void Solver::StepDpm(std::span<const float> velocity, std::span<float> sample) {
  const int i = state_.next_step;
  Predict(velocity, sample);
  const bool second_order = i > 0 && i + 1 < steps();
  const float* m0 = state_.predictions[0].data();
  const float* m1 = state_.predictions[second_order ? 1 : 0].data();
  const MultistepTerms terms = PredictorTerms(schedule_.sigmas, i, second_order ? 2 : 1);
  WithRounding(rounding_, [&](auto round) {
    for (std::size_t k = 0; k < sample.size(); ++k) {
      const float slope = Slope(terms, m1[k], m0[k], round);
      const float first_order = terms.keep * sample[k] - round(terms.gain * m0[k]);
      sample[k] = round(first_order - round(0.5f * terms.gain * slope));
    }
  });
  state_.predictions.resize(PredictionsKept());
}

void Solver::StepEuler(std::span<const float> velocity, std::span<float> sample) {
  const std::size_t i = static_cast<std::size_t>(state_.next_step);
  const float step = schedule_.sigmas[i + 1] - schedule_.sigmas[i];
  WithRounding(rounding_, [&](auto round) {
    for (std::size_t k = 0; k < sample.size(); ++k) sample[k] = round(sample[k] + round(step * velocity[k]));
  });
}

absl::Status Solver::Restore(SolverState state) {
  if (state.next_step < 0 || state.next_step > steps()) {
    return absl::InvalidArgumentError(
        absl::StrCat("solver state: next_step=", state.next_step, ", must be in 0..", steps()));
  }
  const std::size_t expected = std::min(static_cast<std::size_t>(state.next_step), PredictionsKept());
  if (state.predictions.size() != expected) {
    return absl::InvalidArgumentError(absl::StrCat("solver state: predictions=", state.predictions.size(),
                                                   " at next_step=", state.next_step, ", must be ",
                                                   expected));
  }
  const bool has_last = kind_ == SolverKind::kUniPc && state.next_step > 0;
  const std::size_t elements = expected > 0 ? state.predictions[0].size() : 0;
  for (const std::vector<float>& prediction : state.predictions) {
    if (prediction.size() != elements) {
      return absl::InvalidArgumentError(
          absl::StrCat("solver state: predictions of ", elements, " and ", prediction.size(), " elements"));
    }
  }
  if (state.last_sample.size() != (has_last ? elements : 0)) {
    return absl::InvalidArgumentError(absl::StrCat("solver state: last_sample has ", state.last_sample.size(),
                                                   " elements, must have ", has_last ? elements : 0));
  }
  state_ = std::move(state);
  return absl::OkStatus();
}

}  // namespace ovi
