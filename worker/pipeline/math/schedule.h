// The noise levels and timesteps of a denoising run. Pure; any thread.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/solver_kind.h"

namespace ovi {

// All three solvers predict flow: x(sigma) = (1 - sigma) * clean + sigma * noise.
struct Schedule {
  std::vector<float> sigmas;      // steps + 1 values, strictly falling, the last one 0
  std::vector<double> timesteps;  // steps values in (0, 1000]: what the network is told
  // UniPC and DPM++ tell the network 1000 * sigma cut to an integer, while the solver uses the sigma itself;
  // two timesteps may then be equal. Euler's are float32 values and not cut.
  bool integer_timesteps;
};

inline constexpr int kStepsMax = 1000;  // the timesteps the models were trained on

// INVALID_ARGUMENT for steps outside 1..kStepsMax, for a shift that is not a positive number, and for a shift
// so large or small that two sigmas are the same float32.
absl::StatusOr<Schedule> MakeSchedule(SolverKind kind, int steps, double shift);

}  // namespace ovi
