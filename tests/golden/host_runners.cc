// Golden tests of tables, schedules and images, and of the rotation that uses a table.
#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "tests/golden/configs.h"
#include "worker/media/first_frame.h"
#include "worker/model/rope_table.h"
#include "worker/pipeline/math/resolution.h"
#include "worker/pipeline/math/solver.h"

namespace ovi::golden {
namespace {

// cos or sin of position * frequency for every position and pair.
struct Angles {
  std::vector<float> cos, sin;
};

Angles AnglesOf(const std::vector<double>& positions, const std::vector<double>& frequencies) {
  Angles angles;
  for (const double position : positions) {
    for (const double frequency : frequencies) {
      angles.cos.push_back(static_cast<float>(std::cos(position * frequency)));
      angles.sin.push_back(static_cast<float>(std::sin(position * frequency)));
    }
  }
  return angles;
}

absl::Status RopeTablesTest(const Context& context, Results& results) {
  const double theta = context.test.params.at("theta");
  const double scaling = context.test.params.at("audio_scaling");
  OVI_ASSIGN_OR_RETURN(const Reference real_positions, context.set.Tensor("rope.real.positions"));
  for (const std::string set : {"rope.", "rope.real."}) {
    OVI_ASSIGN_OR_RETURN(const Reference shape, context.set.Tensor(set + "video.freqs_cos"));
    std::vector<double> positions(real_positions.values.begin(), real_positions.values.end());
    if (set == "rope.") {
      positions.clear();
      for (std::int64_t p = 0; p < shape.shape[0]; ++p) positions.push_back(static_cast<double>(p));
    }
    const RopeSplit split = SplitPairs(2 * shape.shape[1]);
    const std::vector<double> time = RopeFrequencies(split.time, theta);
    std::vector<double> video = time;
    for (const std::int64_t pairs : {split.row, split.column}) {
      const std::vector<double> space = RopeFrequencies(pairs, theta);
      video.insert(video.end(), space.begin(), space.end());
    }
    std::vector<double> audio = time;
    for (double& frequency : audio) frequency *= scaling;
    for (const auto& [tower, frequencies] : {std::pair{"video", &video}, std::pair{"audio", &audio}}) {
      Angles angles = AnglesOf(positions, *frequencies);
      results[absl::StrCat(set, tower, ".freqs_cos")] = std::move(angles.cos);
      results[absl::StrCat(set, tower, ".freqs_sin")] = std::move(angles.sin);
    }
  }
  return absl::OkStatus();
}

absl::Status RopeApplyTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const FusionConfig config, FusionConfigOf(context.set));
  const std::vector<std::int64_t> grid = context.test.params.at("video_grid");
  const std::vector<std::int64_t> length = context.test.params.at("audio_grid");
  for (const bool is_video : {true, false}) {
    const std::string at = is_video ? "rope.video" : "rope.audio";
    OVI_ASSIGN_OR_RETURN(const Reference x, context.set.Tensor(at + ".x"));  // [1, L, heads, head_dim]
    const std::int64_t heads = x.shape[2];
    const std::int64_t head_dim = x.shape[3];
    const std::vector<float> table =
        is_video ? VideoRopeTable({grid.at(0), grid.at(1), grid.at(2)}, head_dim)
                 : AudioRopeTable(length.at(0), head_dim, config.audio.temporal_rope_scaling);
    const std::int64_t pairs = is_video ? head_dim / 2 : SplitPairs(head_dim).time;
    const std::int64_t positions = static_cast<std::int64_t>(table.size()) / (2 * pairs);
    OVI_ASSIGN_OR_RETURN(const Tensor device_table,
                         context.runtime.arena.Allocate(DType::kF32, {positions, pairs, 2}, "rope table"));
    context.runtime.stream.Upload(device_table, HostTensor{table.data(), DType::kF32, device_table.shape});
    OVI_ASSIGN_OR_RETURN(const Tensor y,
                         context.Upload(at + ".x", context.compute(), {x.shape[1], heads * head_dim}));
    context.runtime.stream.Run(Rope{.x = y, .table = device_table, .heads = heads, .out = y});
    OVI_ASSIGN_OR_RETURN(results[at + ".y"], context.Download(y));
  }
  return absl::OkStatus();
}

absl::StatusOr<SolverKind> SolverOf(const std::string& name) {
  if (name == "unipc") return SolverKind::kUniPc;
  if (name == "dpmpp" || name == "dpm++") return SolverKind::kDpmPlusPlus;
  if (name == "euler") return SolverKind::kEuler;
  return absl::InvalidArgumentError("unknown solver " + name);
}

// samples [steps + 1, ...] and model outputs [steps, ...] of the reference's synthetic model
// v = a x + b t / 1000 + 0.3 sin x.
absl::Status Trajectory(const Context& context, SolverKind kind, int steps, double shift,
                        const std::string& at, Results& results) {
  OVI_ASSIGN_OR_RETURN(const Reference x0, context.set.Tensor("scheduler.traj.x0"));
  OVI_ASSIGN_OR_RETURN(const Reference a, context.set.Tensor("scheduler.traj.a"));
  OVI_ASSIGN_OR_RETURN(const Reference b, context.set.Tensor("scheduler.traj.b"));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Solver> solver,
                       Solver::Make(kind, steps, shift, Rounding::kFloat32));
  std::vector<float> x = x0.values;
  std::vector<float>& samples = results[at + ".samples"];
  std::vector<float>& outputs = results[at + ".model_outputs"];
  samples = x;
  outputs.clear();
  std::vector<float> velocity(x.size());
  for (int step = 0; step < steps; ++step) {
    const auto t = static_cast<float>(solver->timesteps()[static_cast<std::size_t>(step)]);
    for (std::size_t i = 0; i < x.size(); ++i) {
      velocity[i] = a.values[i] * x[i] + b.values[i] * (t / 1000.0f) + 0.3f * std::sin(x[i]);
    }
    outputs.insert(outputs.end(), velocity.begin(), velocity.end());
    solver->Step(step, velocity, x);
    samples.insert(samples.end(), x.begin(), x.end());
  }
  return absl::OkStatus();
}

// Outputs are named scheduler.<solver>.<steps>.<sigmas|timesteps> and scheduler.<solver>.traj<steps>.<...>.
absl::Status SchedulerTest(const Context& context, Results& results) {
  const double shift = context.test.params.at("shift");
  for (const std::string& output : context.test.outputs) {
    const std::vector<std::string> parts = absl::StrSplit(output, '.');
    const bool trajectory = parts.size() == 4 && parts[2].starts_with("traj");
    int steps = 0;
    if (parts.size() != 4 || !absl::SimpleAtoi(trajectory ? parts[2].substr(4) : parts[2], &steps)) {
      return absl::InvalidArgumentError("unknown scheduler output " + output);
    }
    OVI_ASSIGN_OR_RETURN(const SolverKind kind, SolverOf(parts[1]));
    if (trajectory) {
      OVI_RETURN_IF_ERROR(Trajectory(context, kind, steps, shift,
                                     absl::StrCat("scheduler.", parts[1], ".", parts[2]), results));
      continue;
    }
    OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Solver> solver,
                         Solver::Make(kind, steps, shift, Rounding::kFloat32));
    if (parts[3] == "sigmas") results[output] = solver->sigmas();
    if (parts[3] == "timesteps")
      results[output].assign(solver->timesteps().begin(), solver->timesteps().end());
  }
  return absl::OkStatus();
}

absl::Status ImageResizeTest(const Context& context, Results& results) {
  const nlohmann::json cases = context.test.params.at("cases");
  for (std::size_t index = 0; index < cases.size(); ++index) {
    const std::string at = absl::StrCat("image.", index);
    OVI_ASSIGN_OR_RETURN(const Reference rgb, context.set.Tensor(at + ".rgb"));
    const std::int64_t height = rgb.shape[0];
    const std::int64_t width = rgb.shape[1];
    OVI_ASSIGN_OR_RETURN(const FrameSize size, FirstFrameSize({height, width}, cases[index].at("area")));
    const std::vector<int> expected = cases[index].at("out");
    if (size.height != expected.at(0) || size.width != expected.at(1)) {
      return absl::InvalidArgumentError(absl::StrCat(at, ": size ", size.height, "x", size.width,
                                                     ", expected ", expected[0], "x", expected[1]));
    }
    results[at + ".tensor"] =
        FirstFrameTensor(rgb.values, {height, width}, size, context.policy == PrecisionPolicy::kAsExecuted);
  }
  return absl::OkStatus();
}

}  // namespace

const std::map<std::string, Runner>& HostRunners() {
  static const std::map<std::string, Runner> runners = {{"rope_tables", RopeTablesTest},
                                                        {"rope_apply", RopeApplyTest},
                                                        {"scheduler", SchedulerTest},
                                                        {"image_resize", ImageResizeTest}};
  return runners;
}

}  // namespace ovi::golden
