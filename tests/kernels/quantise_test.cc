// QuantiseRows against the formula of its contract, and the exponential functions that kernels share.
#include "kernels/quantise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/quantise.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_math.h"
#include "tests/kernels/test_block.h"

namespace ovi {
namespace {

using test::OwnedTensor;

QuantiseRows Op(const OwnedTensor& x, const OwnedTensor& q, const OwnedTensor& scale) {
  QuantiseRows op;
  op.x = x.tensor();
  op.q = q.tensor();
  op.scale = scale.tensor();
  return op;
}

TEST(QuantiseRows, FollowsTheFormulaAtEveryWidth) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::int64_t columns : {1, 5, 16, 33, 3072}) {
      constexpr std::int64_t kRows = 9;
      OwnedTensor x(dtype, {kRows, columns});
      for (std::int64_t i = 0; i < x.elements(); ++i) x.set(i, normal(random));
      const OwnedTensor q(DType::kI8, {kRows, columns});
      const OwnedTensor scale(DType::kF32, {kRows});
      ASSERT_TRUE(Validate(Op(x, q, scale)).ok());
      ASSERT_TRUE(cpu::RunQuantiseRows(Op(x, q, scale)).ok());
      for (std::int64_t row = 0; row < kRows; ++row) {
        float largest = 0;
        for (std::int64_t i = 0; i < columns; ++i)
          largest = std::max(largest, std::fabs(x.get(row * columns + i)));
        ASSERT_EQ(scale.get(row), largest / 127.0f);
        for (std::int64_t i = 0; i < columns; ++i) {
          ASSERT_EQ(q.get(row * columns + i), std::nearbyint(x.get(row * columns + i) / scale.get(row)));
        }
      }
    }
  }
}

TEST(QuantiseRows, RoundsHalfToEvenAndReachesBothEnds) {
  const OwnedTensor x(DType::kF32, {1, 8}, {127, -127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f});
  const OwnedTensor q(DType::kI8, {1, 8});
  const OwnedTensor scale(DType::kF32, {1});
  ASSERT_TRUE(cpu::RunQuantiseRows(Op(x, q, scale)).ok());
  const float expected[] = {127, -127, 0, 2, 2, 0, -2, 126};
  for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(q.get(i), expected[i]) << i;
}

TEST(QuantiseRows, GivesARowOfZerosScaleZero) {
  const OwnedTensor x(DType::kBF16, {2, 3}, {0, 0, -0.0f, 0, 1, 0});
  OwnedTensor q(DType::kI8, {2, 3}, {1, 1, 1, 1, 1, 1});
  OwnedTensor scale(DType::kF32, {2}, {5, 5});
  ASSERT_TRUE(cpu::RunQuantiseRows(Op(x, q, scale)).ok());
  EXPECT_EQ(scale.get(0), 0);
  EXPECT_EQ(q.get(0) + q.get(1) + q.get(2), 0);
  EXPECT_EQ(q.get(4), 127);
}

TEST(QuantiseRows, ANonFiniteRowShowsInItsScale) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const OwnedTensor x(DType::kF32, {1, 3}, {1, bad, 2});
    const OwnedTensor q(DType::kI8, {1, 3});
    const OwnedTensor scale(DType::kF32, {1});
    ASSERT_TRUE(cpu::RunQuantiseRows(Op(x, q, scale)).ok());
    EXPECT_FALSE(std::isfinite(scale.get(0)));
  }
}

TEST(QuantiseRows, ValidateNamesTheBrokenClause) {
  const OwnedTensor x(DType::kF32, {2, 3});
  const OwnedTensor q(DType::kI8, {2, 3});
  const OwnedTensor scale(DType::kF32, {2});
  const OwnedTensor short_scale(DType::kF32, {1});
  EXPECT_TRUE(Validate(Op(x, q, scale)).ok());
  EXPECT_THAT(std::string(Validate(Op(x, x, scale)).message()),
              testing::HasSubstr("q is F32 2x3, expected I8 2x3"));
  EXPECT_THAT(std::string(Validate(Op(x, q, short_scale)).message()), testing::HasSubstr("scale is F32 1"));
  EXPECT_THAT(std::string(Validate(Op(q, q, scale)).message()), testing::HasSubstr("x must be F32 or BF16"));
}

struct Function {
  const char* name;
  float (*fast)(float);
  double (*exact)(double);
  double relative_error;
};

double SiluExact(double x) {
  return x / (1 + std::exp(-x));
}
double GeluTanhExact(double x) {
  return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST(SimdMath, StaysWithinItsErrorOverTheWholeRange) {
  const Function functions[] = {{"exp", cpu::Exp, [](double x) { return std::exp(x); }, 1e-7},
                                {"tanh", cpu::Tanh, [](double x) { return std::tanh(x); }, 2e-7},
                                {"silu", cpu::Silu, SiluExact, 4e-7},
                                {"gelu_tanh", cpu::GeluTanh, GeluTanhExact, 2e-5}};
  for (const Function& f : functions) {
    double worst = 0;
    float worst_at = 0;
    for (std::uint64_t bits = 0; bits < 0x100000000; bits += 7919) {
      const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      if (!std::isfinite(x)) continue;
      const double exact = f.exact(x);
      if (!(std::fabs(exact) > 1e-30) || std::fabs(exact) > 3.4e38) continue;
      const double error = std::fabs(f.fast(x) - exact) / std::fabs(exact);
      if (error > worst) {
        worst = error;
        worst_at = x;
      }
    }
    EXPECT_LT(worst, f.relative_error) << f.name << " at " << worst_at;
  }
  for (float x = -2; x < 12; x += 0.00037f) {
    const double exact = GeluTanhExact(x);
    ASSERT_LE(std::fabs(cpu::GeluTanh(x) - exact), 5e-7 * std::fabs(exact)) << x;
  }
}

TEST(SimdMath, HandlesEndsSignsAndNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(cpu::Exp(infinity), infinity);
  EXPECT_EQ(cpu::Exp(-infinity), 0);
  EXPECT_EQ(cpu::Exp(0), 1);
  EXPECT_EQ(cpu::Exp(3e38f), infinity);
  EXPECT_EQ(cpu::Exp(-3e38f), 0);
  EXPECT_NEAR(cpu::Exp(-100), 3.8e-44f, 1.5e-45f);  // subnormal
  EXPECT_EQ(cpu::Tanh(infinity), 1);
  EXPECT_EQ(cpu::Tanh(-infinity), -1);
  EXPECT_TRUE(std::signbit(cpu::Tanh(-0.0f)));
  EXPECT_EQ(cpu::Tanh(1e-40f), 1e-40f);
  EXPECT_EQ(cpu::Silu(1e30f), 1e30f);
  EXPECT_EQ(cpu::Silu(-1e30f), 0);
  EXPECT_EQ(cpu::GeluTanh(1e30f), 1e30f);
  EXPECT_EQ(cpu::GeluTanh(-1e30f), 0);
  for (float (*f)(float) : {cpu::Exp, cpu::Tanh, cpu::Silu, cpu::GeluTanh}) EXPECT_TRUE(std::isnan(f(nan)));
}

TEST(SimdMath, VectorisedLoopsAgreeWithScalars) {
  std::vector<float> x(1003);
  std::vector<float> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(i) - 500.0f) * 0.02f;
  cpu::RunVectorised([&] {
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = cpu::GeluTanh(x[i]);
  });
  for (std::size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(y[i], cpu::GeluTanh(x[i]), 2e-6 * std::fabs(y[i]) + 1e-9) << x[i];
  }
}

}  // namespace
}  // namespace ovi
