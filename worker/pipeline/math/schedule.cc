#include "worker/pipeline/math/schedule.h"

#include <cmath>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

constexpr double kTrainSteps = 1000;

// T is the type the original does this step in: the integer timesteps and the last bits depend on it.
template <typename T>
T Shift(T sigma, T shift) {
  return shift * sigma / (1 + (shift - 1) * sigma);
}

// NumPy's linspace in its own order of operations; `points` values from `first` on, `step` apart.
std::vector<double> Ramp(double first, double step, int points) {
  std::vector<double> values;
  for (int k = 0; k < points; ++k) values.push_back(k * step + first);
  return values;
}

// The first `steps` of steps + 1 values from `first` down to 0, shifted.
std::vector<double> RampToZero(double first, double shift, int steps) {
  std::vector<double> sigmas = Ramp(first, (0 - first) / steps, steps);
  for (double& sigma : sigmas) sigma = Shift(sigma, shift);
  return sigmas;
}

// Shifted twice: the ramp ends at the shifted 1/1000, and all of it is shifted once more.
std::vector<double> EulerSigmas(double shift, int steps) {
  const auto shift_f32 = static_cast<float>(shift);
  const double first = Shift(1.0f, shift_f32) * kTrainSteps;
  const double last = Shift(0.001f, shift_f32) * kTrainSteps;
  std::vector<double> sigmas = Ramp(first, steps > 1 ? (last - first) / (steps - 1) : 0.0, steps);
  if (steps > 1) sigmas.back() = last;
  for (double& sigma : sigmas) sigma = Shift(sigma / kTrainSteps, shift);
  return sigmas;
}

std::vector<double> ShiftedSigmas(SolverKind kind, double shift, int steps) {
  switch (kind) {
    case SolverKind::kUniPc:
      return RampToZero(0.999f, shift, steps);  // float32's 0.999, as the original's table holds it
    case SolverKind::kDpmPlusPlus:
      return RampToZero(1.0, shift, steps);
    case SolverKind::kEuler:
      return EulerSigmas(shift, steps);
  }
  return {};
}

absl::Status CheckFalling(const std::vector<float>& sigmas, SolverKind kind, double shift) {
  // UniPC takes the logarithm of 1 - sigma at the first step already; DPM++ has a limit for it there.
  bool good = kind == SolverKind::kUniPc ? sigmas[0] < 1.0f : sigmas[0] <= 1.0f;
  for (std::size_t i = 0; i + 1 < sigmas.size(); ++i) good = good && sigmas[i] > sigmas[i + 1];
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("solver: shift=", shift, " with steps=", sigmas.size() - 1,
                                                 " leaves two noise levels equal"));
}

}  // namespace

absl::StatusOr<Schedule> MakeSchedule(SolverKind kind, int steps, double shift) {
  if (steps < 1 || steps > kStepsMax) {
    return absl::InvalidArgumentError(absl::StrCat("solver: steps=", steps, ", must be in 1..", kStepsMax));
  }
  if (!std::isfinite(shift) || shift <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("solver: shift=", shift, ", must be above 0"));
  }
  Schedule schedule;
  schedule.integer_timesteps = kind != SolverKind::kEuler;
  for (const double sigma : ShiftedSigmas(kind, shift, steps)) {
    const auto sigma_f32 = static_cast<float>(sigma);
    schedule.sigmas.push_back(sigma_f32);
    schedule.timesteps.push_back(schedule.integer_timesteps
                                     ? std::trunc(kTrainSteps * sigma)
                                     : double{sigma_f32 * static_cast<float>(kTrainSteps)});
  }
  schedule.sigmas.push_back(0.0f);
  absl::Status falling = CheckFalling(schedule.sigmas, kind, shift);
  if (!falling.ok()) return falling;
  return schedule;
}

}  // namespace ovi
