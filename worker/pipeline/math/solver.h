// The ODE solvers of the denoising loop: UniPC (default), DPM++ and Euler, for flow prediction. One Solver
// steps one latent; video and audio have one each.
//
// Host code, element by element: a step is a few additions an element, nothing next to the network.
// Not thread-safe; different Solvers are independent.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/pipeline/math/rounding.h"
#include "worker/pipeline/math/schedule.h"

namespace ovi {

// What a run that goes on from `next_step` must know besides the latent itself. Written into checkpoints, so
// plain numbers only. Orders need no place in it: they follow from next_step and the number of steps.
struct SolverState {
  int next_step = 0;
  // Predictions of the clean sample, newest first, one a step done: at most 2 with UniPC, 1 with DPM++, 0
  // with Euler.
  std::vector<std::vector<float>> predictions;
  std::vector<float> last_sample;  // UniPC from the first step on: the sample the last predictor started from
};

class Solver {
 public:
  // INVALID_ARGUMENT for steps or a shift that MakeSchedule refuses.
  static absl::StatusOr<std::unique_ptr<Solver>> Make(SolverKind kind, int steps, double shift,
                                                      Rounding rounding);

  SolverKind kind() const { return kind_; }
  int steps() const { return static_cast<int>(schedule_.timesteps.size()); }
  int next_step() const { return state_.next_step; }
  // steps() + 1 noise levels, the last one 0.
  const std::vector<float>& sigmas() const { return schedule_.sigmas; }
  // steps() values for the network.
  const std::vector<double>& timesteps() const { return schedule_.timesteps; }
  // Whether every timestep is an integer (UniPC, DPM++) or a float32 (Euler).
  bool integer_timesteps() const { return schedule_.integer_timesteps; }

  // One step, i = next_step(): `sample` at noise level i becomes the sample at level i + 1, given the guided
  // `velocity` of the network there. Both of the same size at every step. With kBf16AsExecuted both must hold
  // bf16 values, and the result does. The original looks the first step up by its timestep and can start at
  // the second of two equal ones; here step 0 is step 0.
  void Step(int i, std::span<const float> velocity, std::span<float> sample);

  // A copy of the state between two steps. Restored into a Solver made with the same arguments, it continues
  // bit for bit. INVALID_ARGUMENT when the state has not the shape that its next_step gives it.
  SolverState state() const { return state_; }
  absl::Status Restore(SolverState state);

 private:
  Solver(SolverKind kind, Schedule schedule, Rounding rounding)
      : kind_(kind), rounding_(rounding), schedule_(std::move(schedule)) {}

  // The order UniPC's predictor has at step i, and its corrector at step i + 1.
  int UniPcOrder(int i) const;
  std::size_t PredictionsKept() const;
  void StepUniPc(std::span<const float> velocity, std::span<float> sample);
  void StepDpm(std::span<const float> velocity, std::span<float> sample);
  void StepEuler(std::span<const float> velocity, std::span<float> sample);
  void Predict(std::span<const float> velocity, std::span<const float> sample);

  SolverKind kind_;
  Rounding rounding_;
  Schedule schedule_;
  SolverState state_;
};

}  // namespace ovi
