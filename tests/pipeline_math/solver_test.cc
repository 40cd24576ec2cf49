#include "worker/pipeline/math/solver.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/dtype.h"
#include "tests/pipeline_math/solver_vectors.h"
#include "worker/pipeline/math/solver_terms.h"

namespace ovi {
namespace {

constexpr SolverKind kAllKinds[] = {SolverKind::kUniPc, SolverKind::kDpmPlusPlus, SolverKind::kEuler};
constexpr Rounding kAllRoundings[] = {Rounding::kFloat32, Rounding::kBf16AsExecuted};

std::unique_ptr<Solver> MakeSolver(SolverKind kind, int steps, Rounding rounding = Rounding::kFloat32) {
  absl::StatusOr<std::unique_ptr<Solver>> solver = Solver::Make(kind, steps, 5.0, rounding);
  EXPECT_TRUE(solver.ok()) << solver.status();
  return *std::move(solver);
}

// The synthetic network of the reference data at step i.
std::vector<float> Velocity(const Solver& solver, int i, const std::vector<float>& x) {
  const auto t = static_cast<float>(solver.timesteps()[static_cast<std::size_t>(i)] / 1000);
  std::vector<float> v;
  for (std::size_t k = 0; k < x.size(); ++k) {
    v.push_back(kTrajectoryA[k] * x[k] + kTrajectoryB[k] * t + 0.3f * std::sin(x[k]));
  }
  return v;
}

std::vector<float> Rounded(std::vector<float> values) {
  for (float& value : values) value = RoundToBFloat16(value);
  return values;
}

// Takes `solver` to the end from where it is; all samples one after the other. In bf16 the network's result
// is bf16.
std::vector<float> RunToEnd(Solver& solver, std::vector<float> x, Rounding rounding = Rounding::kFloat32) {
  std::vector<float> samples;
  for (int i = solver.next_step(); i < solver.steps(); ++i) {
    std::vector<float> v = Velocity(solver, i, x);
    if (rounding == Rounding::kBf16AsExecuted) v = Rounded(std::move(v));
    solver.Step(i, v, x);
    samples.insert(samples.end(), x.begin(), x.end());
  }
  return samples;
}

TEST(Schedule, EqualsTheOriginal) {
  for (const ReferenceSchedule& reference : kReferenceSchedules) {
    const int steps = static_cast<int>(reference.timesteps.size());
    SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(reference.kind) << " steps " << steps);
    const std::unique_ptr<Solver> solver = MakeSolver(reference.kind, steps);
    EXPECT_EQ(solver->sigmas(), reference.sigmas);
    ASSERT_EQ(solver->timesteps().size(), reference.timesteps.size());
    for (std::size_t i = 0; i < reference.timesteps.size(); ++i) {
      EXPECT_NEAR(solver->timesteps()[i], reference.timesteps[i], solver->integer_timesteps() ? 0 : 1e-6);
    }
  }
}

TEST(Schedule, CutsTimestepsOfTheNetworkButNotTheSolversSigmas) {
  const std::unique_ptr<Solver> solver = MakeSolver(SolverKind::kUniPc, 4);
  EXPECT_EQ(solver->timesteps(), (std::vector<double>{999, 937, 833, 624}));
  EXPECT_NE(solver->sigmas()[1] * 1000, 937);
  EXPECT_TRUE(solver->integer_timesteps());
  EXPECT_TRUE(MakeSolver(SolverKind::kDpmPlusPlus, 4)->integer_timesteps());
  EXPECT_FALSE(MakeSolver(SolverKind::kEuler, 4)->integer_timesteps());
}

TEST(Schedule, ShiftsEulerTwice) {
  const std::unique_ptr<Solver> solver = MakeSolver(SolverKind::kEuler, 50);
  EXPECT_EQ(solver->sigmas().front(), 1.0f);
  EXPECT_NEAR(solver->sigmas()[49], 0.024414, 1e-6);  // 0.00498 after one shift
}

TEST(Solver, FollowsTheReferenceTrajectories) {
  for (const ReferenceTrajectory& reference : kReferenceTrajectories) {
    SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(reference.kind) << " steps "
                                    << reference.steps);
    const std::unique_ptr<Solver> solver = MakeSolver(reference.kind, reference.steps);
    const std::vector<float> samples = RunToEnd(*solver, kTrajectoryX0);
    ASSERT_EQ(samples.size(), reference.samples.size());
    double error = 0;
    double norm = 0;
    for (std::size_t k = 0; k < samples.size(); ++k) {
      error += std::pow(double{samples[k]} - reference.samples[k], 2);
      norm += std::pow(reference.samples[k], 2);
    }
    EXPECT_LE(std::sqrt(error / norm), 1e-6);  // measured 1.4e-7; the reference allows 1e-5
  }
}

TEST(Solver, EndsAtTheLastPredictionOfTheCleanSample) {
  for (const SolverKind kind : {SolverKind::kUniPc, SolverKind::kDpmPlusPlus}) {
    const std::unique_ptr<Solver> solver = MakeSolver(kind, 7);
    const std::vector<float> samples = RunToEnd(*solver, kTrajectoryX0);
    const std::vector<float> last(samples.end() - kTrajectoryElements, samples.end());
    EXPECT_EQ(solver->state().predictions[0], last);
  }
}

TEST(CorrectorTerms, EqualTheOriginalsScalars) {
  struct Row {
    int i;
    double rk, r0, r1;
  };
  const std::vector<float> sigmas = MakeSolver(SolverKind::kUniPc, 50)->sigmas();
  for (const Row& row : {Row{2, -4.442547, 0.030383, 0.526637}, Row{3, -1.648501, 0.062746, 0.472015},
                         Row{25, -1.003127, 0.083194, 0.423468}, Row{49, -0.597547, 0.103451, 0.455528}}) {
    SCOPED_TRACE(row.i);
    const UniPcCorrectorTerms terms = CorrectorTerms(sigmas, row.i, 2);
    EXPECT_NEAR(-1 / terms.step.inverse_r, row.rk, 2e-4);  // sigma near 1 leaves 1 - sigma few bits
    EXPECT_NEAR(terms.r0, row.r0, 2e-5);
    EXPECT_NEAR(terms.r1, row.r1, 2e-5);
  }
}

TEST(PredictorTerms, AreFiniteWhereTheLogarithmIsNot) {
  const std::vector<float> sigmas = MakeSolver(SolverKind::kDpmPlusPlus, 5)->sigmas();
  const MultistepTerms first = PredictorTerms(sigmas, 0, 1);
  EXPECT_EQ(first.keep, sigmas[1]);
  EXPECT_EQ(first.gain, -(1 - sigmas[1]));
  EXPECT_EQ(PredictorTerms(sigmas, 1, 2).inverse_r, 0.0f);  // so step 1 is first order too
  const MultistepTerms last = PredictorTerms(sigmas, 4, 1);
  EXPECT_EQ(last.keep, 0.0f);
  EXPECT_EQ(last.gain, -1.0f);
}

// The update rules of the original once more, for one element, every tensor operation rounded where it
// rounds.
float Bf(double x) {
  return RoundToBFloat16(static_cast<float>(x));
}

std::vector<float> UniPcOneElementInBf16(const Solver& solver, std::size_t element, float x) {
  const std::vector<float>& s = solver.sigmas();
  const int steps = solver.steps();
  std::vector<float> m;
  std::vector<float> samples;
  float last = 0;
  for (int i = 0; i < steps; ++i) {
    const auto u = static_cast<std::size_t>(i);
    const auto t = static_cast<float>(solver.timesteps()[u] / 1000);
    const float v = Bf(kTrajectoryA[element] * x + kTrajectoryB[element] * t + 0.3f * std::sin(x));
    m.push_back(Bf(x - Bf(s[u] * v)));
    if (i > 0) {
      const UniPcCorrectorTerms c = CorrectorTerms(s, i, i > 1 ? 2 : 1);
      float slopes = Bf(Bf(c.r1) * Bf(m[u] - m[u - 1]));
      if (i > 1) slopes = Bf(Bf(Bf(c.r0) * Bf(Bf(m[u - 2] - m[u - 1]) * -c.step.inverse_r)) + slopes);
      x = Bf(Bf(Bf(c.step.keep * last) - Bf(c.step.gain * m[u - 1])) - Bf(c.step.gain * slopes));
    }
    last = x;
    if (i + 1 == steps) {
      x = m[u];
    } else {
      const MultistepTerms p = PredictorTerms(s, i, i > 0 ? 2 : 1);
      x = Bf(Bf(p.keep * x) - Bf(p.gain * m[u]));
      if (i > 0) x = Bf(x - Bf(p.gain * Bf(0.5f * Bf(Bf(m[u - 1] - m[u]) * -p.inverse_r))));
    }
    samples.push_back(x);
  }
  return samples;
}

TEST(Solver, RoundsUniPcWhereTheOriginalDoes) {
  const std::vector<float> start = Rounded(kTrajectoryX0);
  const std::unique_ptr<Solver> solver = MakeSolver(SolverKind::kUniPc, 20, Rounding::kBf16AsExecuted);
  const std::vector<float> samples = RunToEnd(*solver, start, Rounding::kBf16AsExecuted);
  for (std::size_t element = 0; element < kTrajectoryElements; ++element) {
    const std::vector<float> expected = UniPcOneElementInBf16(*solver, element, start[element]);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(samples[i * kTrajectoryElements + element], expected[i])
          << "step " << i << " element " << element;
    }
  }
}

TEST(Solver, StaysOnBf16ValuesAndNearTheFloat32Run) {
  for (const SolverKind kind : kAllKinds) {
    const std::unique_ptr<Solver> exact = MakeSolver(kind, 20);
    const std::unique_ptr<Solver> rounded = MakeSolver(kind, 20, Rounding::kBf16AsExecuted);
    const std::vector<float> start = Rounded(kTrajectoryX0);
    const std::vector<float> a = RunToEnd(*exact, start);
    const std::vector<float> b = RunToEnd(*rounded, start, Rounding::kBf16AsExecuted);
    EXPECT_EQ(b, Rounded(b));
    double worst = 0;
    for (std::size_t k = 0; k < a.size(); ++k) worst = std::max(worst, std::abs(double{a[k]} - b[k]));
    EXPECT_GT(worst, 1e-4) << "the rounding is not active";
    EXPECT_LT(worst, 0.1);
  }
}

TEST(Solver, GoesOnFromASavedStateBitForBit) {
  constexpr int kSteps = 8;
  for (const SolverKind kind : kAllKinds) {
    for (const Rounding rounding : kAllRoundings) {
      for (int stop = 0; stop <= kSteps; ++stop) {
        SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << " stop " << stop);
        const std::unique_ptr<Solver> whole = MakeSolver(kind, kSteps, rounding);
        const std::vector<float> samples = RunToEnd(*whole, kTrajectoryX0, rounding);

        const std::unique_ptr<Solver> before = MakeSolver(kind, kSteps, rounding);
        std::vector<float> x = kTrajectoryX0;
        for (int i = 0; i < stop; ++i) {
          std::vector<float> v = Velocity(*before, i, x);
          before->Step(i, rounding == Rounding::kFloat32 ? v : Rounded(v), x);
        }
        const std::unique_ptr<Solver> after = MakeSolver(kind, kSteps, rounding);
        ASSERT_TRUE(after->Restore(before->state()).ok());
        const std::vector<float> rest = RunToEnd(*after, x, rounding);
        EXPECT_EQ(rest, std::vector<float>(samples.begin() + stop * kTrajectoryElements, samples.end()));
      }
    }
  }
}

TEST(Solver, RefusesAStateOfAnotherShape) {
  const std::vector<float> m(4);
  struct Row {
    const char* name;
    SolverKind kind;
    SolverState state;
  };
  const Row rows[] = {
      {"negative step", SolverKind::kEuler, {.next_step = -1}},
      {"step past the end", SolverKind::kEuler, {.next_step = 6}},
      {"Euler keeps no predictions", SolverKind::kEuler, {.next_step = 2, .predictions = {m}}},
      {"DPM++ keeps one", SolverKind::kDpmPlusPlus, {.next_step = 2, .predictions = {m, m}}},
      {"UniPC misses one", SolverKind::kUniPc, {.next_step = 2, .predictions = {m}, .last_sample = m}},
      {"UniPC misses the last sample", SolverKind::kUniPc, {.next_step = 1, .predictions = {m}}},
      {"sizes differ", SolverKind::kUniPc, {.next_step = 3, .predictions = {m, {1, 2}}, .last_sample = m}},
      {"last sample differs",
       SolverKind::kUniPc,
       {.next_step = 3, .predictions = {m, m}, .last_sample = {1}}},
      {"last sample before the first step", SolverKind::kUniPc, {.next_step = 0, .last_sample = {1}}},
  };
  for (const Row& row : rows) {
    const std::unique_ptr<Solver> solver = MakeSolver(row.kind, 5);
    EXPECT_EQ(solver->Restore(row.state).code(), absl::StatusCode::kInvalidArgument) << row.name;
    EXPECT_EQ(solver->next_step(), 0) << row.name;
  }
}

TEST(Solver, RefusesStepsAndShiftsThatMakeNoSchedule) {
  struct Row {
    const char* name;
    int steps;
    double shift;
    bool ok;
  };
  const Row rows[] = {
      {"one step", 1, 5, true},
      {"the most steps", 1000, 5, true},
      {"the user interface's largest shift", 100, 20, true},
      {"no shift", 50, 1, true},
      {"zero steps", 0, 5, false},
      {"negative steps", -3, 5, false},
      {"too many steps", 1001, 5, false},
      {"shift 0", 50, 0, false},
      {"negative shift", 50, -1, false},
      {"NaN", 50, std::numeric_limits<double>::quiet_NaN(), false},
      {"infinite", 50, std::numeric_limits<double>::infinity(), false},
      {"all noise", 50, 1e9, false},
      {"overflow", 50, 1e300, false},
  };
  for (const Row& row : rows) {
    for (const SolverKind kind : kAllKinds) {
      const absl::Status status = Solver::Make(kind, row.steps, row.shift, Rounding::kFloat32).status();
      const absl::StatusCode code = row.ok ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument;
      EXPECT_EQ(status.code(), code) << row.name << ": " << status;
    }
  }
}

// The original looks the first step up by its integer timestep; with two equal ones it starts at the second
// and runs off its table at the end.
TEST(Solver, StartsAtStepZeroWhereTheFirstTwoTimestepsAreEqual) {
  const std::unique_ptr<Solver> solver = MakeSolver(SolverKind::kUniPc, 300);
  ASSERT_EQ(solver->timesteps()[0], solver->timesteps()[1]);
  const std::vector<float> samples = RunToEnd(*solver, kTrajectoryX0);
  EXPECT_EQ(samples.size(), 300u * kTrajectoryElements);
  for (const float x : samples) EXPECT_TRUE(std::isfinite(x));
}

TEST(SolverDeathTest, RefusesToSkipAStep) {
  const std::unique_ptr<Solver> solver = MakeSolver(SolverKind::kEuler, 5);
  std::vector<float> x(4);
  EXPECT_DEATH(solver->Step(1, x, x), "broken invariant");
}

}  // namespace
}  // namespace ovi
