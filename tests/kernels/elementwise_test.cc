// Elementwise and Fill against their formulas in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

using test::ExpectNumbers;
using test::Numbers;
using test::OpTest;
using test::Round;

constexpr DType kDTypes[] = {DType::kF32, DType::kBF16};

class ElementwiseOp : public OpTest {};
OVI_ON_EVERY_BACKEND(ElementwiseOp);

double Silu(double x) {
  return x / (1 + std::exp(-x));
}

struct Kind {
  const char* name;
  ElementwiseKind kind;
  bool binary;
  double (*formula)(const Elementwise& op, double a, double b);
};

const Kind kKinds[] = {
    {"cast", ElementwiseKind::kCast, false, [](const Elementwise&, double a, double) { return a; }},
    {"scale", ElementwiseKind::kScale, false,
     [](const Elementwise& op, double a, double) { return op.alpha * a; }},
    {"axpby", ElementwiseKind::kAxpby, true,
     [](const Elementwise& op, double a, double b) { return op.alpha * a + op.beta * b; }},
    {"mul", ElementwiseKind::kMul, true, [](const Elementwise&, double a, double b) { return a * b; }},
    {"silu", ElementwiseKind::kSilu, false,
     [](const Elementwise& op, double a, double) { return op.alpha * Silu(a); }},
    {"tanh", ElementwiseKind::kTanh, false,
     [](const Elementwise&, double a, double) { return std::tanh(a); }},
    {"clamp", ElementwiseKind::kClamp, false,
     [](const Elementwise& op, double a, double) {
       return std::min<double>(std::max<double>(a, op.alpha), op.beta);
     }},
    {"silu_mul", ElementwiseKind::kSiluMul, true,
     [](const Elementwise& op, double a, double b) { return Round(op.out.dtype, Silu(a)) * b; }},
    {"gelu_tanh_mul", ElementwiseKind::kGeluTanhMul, true,
     [](const Elementwise& op, double a, double b) {
       const double gelu = a / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a)));
       return Round(op.out.dtype, gelu) * b;
     }},
};

// Counts around the tile (4096 elements) and the smallest share of a thread (16384), and repeats of b that
// fit neither.
struct Size {
  std::int64_t count, b_count;
};
constexpr Size kSizes[] = {{1, 1},     {15, 5}, {4097, 4097}, {7 * 5003, 7}, {3 * 11003, 11003},
                           {40000, 1}, {0, 0},  {0, 3}};

TEST_P(ElementwiseOp, FollowsEveryFormulaInEveryMixOfDTypes) {
  for (const Kind& kind : kKinds) {
    for (const Size& size : kSizes) {
      for (int mix = 0; mix < (kind.binary ? 8 : 4); ++mix) {
        const DType a_dtype = kDTypes[mix & 1];
        const DType out_dtype = kDTypes[mix >> 1 & 1];
        const DType b_dtype = kDTypes[mix >> 2 & 1];
        SCOPED_TRACE(absl::StrCat(kind.name, " of ", size.count, " and ", size.b_count, ", mix ", mix));
        ArenaScope scope(arena());
        const Numbers a = Random(a_dtype, size.count, 5);
        const Numbers b = Random(b_dtype, size.b_count, 2);
        Elementwise op{.kind = kind.kind,
                       .a = Put(a_dtype, {size.count}, a),
                       .alpha = -0.75f,
                       .beta = 1.5f,
                       .out = Make(out_dtype, {1, size.count})};
        if (kind.binary) op.b = Put(b_dtype, {size.b_count}, b);
        Numbers expected(a.size());
        for (std::size_t i = 0; i < a.size(); ++i) {
          expected[i] = Round(out_dtype, kind.formula(op, a[i], kind.binary ? b[i % b.size()] : 0));
        }
        ASSERT_EQ(Run(op), absl::OkStatus());
        ExpectNumbers(out_dtype, Get(op.out), expected, /*scale=*/1);
        if (a_dtype != out_dtype) continue;
        op.out = op.a;
        ASSERT_EQ(Run(op), absl::OkStatus());
        ExpectNumbers(out_dtype, Get(op.out), expected, /*scale=*/1);
      }
    }
  }
}

TEST_P(ElementwiseOp, CastsAndClampsWithoutLosingANan) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor a = Put(DType::kF32, {4}, {nan, infinity, -infinity, 0.3});
  const Tensor cast = Make(DType::kBF16, {4});
  const Tensor clamped = Make(DType::kF32, {4});
  ASSERT_EQ(Run(Elementwise{.kind = ElementwiseKind::kCast,
                            .a = Put(DType::kF32, {4}, {nan, infinity, -infinity, -0.0}),
                            .out = cast}),
            absl::OkStatus());
  ASSERT_EQ(Run(Elementwise{.kind = ElementwiseKind::kClamp, .a = a, .alpha = -1, .beta = 2, .out = clamped}),
            absl::OkStatus());
  EXPECT_TRUE(std::isnan(Get(cast)[0]));
  EXPECT_EQ(Get(cast)[1], infinity);
  EXPECT_EQ(Get(cast)[2], -infinity);
  EXPECT_TRUE(std::signbit(Get(cast)[3]));
  EXPECT_TRUE(std::isnan(Get(clamped)[0]));
  EXPECT_EQ(Get(clamped)[1], 2);
  EXPECT_EQ(Get(clamped)[2], -1);
}

TEST_P(ElementwiseOp, TruncatesToAPixelAsF32ArithmeticDoes) {
  const double infinity = std::numeric_limits<double>::infinity();
  Numbers a = {-1, 1, 0, -2, 2, infinity, -infinity, std::numeric_limits<double>::quiet_NaN(), -0.0};
  std::vector<int> expected = {0, 255, 127, 0, 255, 255, 0, 0, 127};
  // Every value around every step, where one unit of the last place decides.
  for (int level = 0; level <= 255; ++level) {
    float at = static_cast<float>(level) / 255.0f * 2.0f - 1.0f;
    for (int step = -3; step <= 3; ++step) {
      float x = at;
      for (int i = 0; i < std::abs(step); ++i) x = std::nextafter(x, step < 0 ? -2.0f : 2.0f);
      x = std::clamp(x, -1.0f, 1.0f);
      a.push_back(x);
      expected.push_back(static_cast<int>((x + 1.0f) / 2.0f * 255.0f));
    }
  }
  for (int i = 0; i < 40000; ++i) {  // more than one thread's share
    const float x = -1.25f + static_cast<float>(i) * 6.25e-5f;
    a.push_back(x);
    expected.push_back(static_cast<int>((std::clamp(x, -1.0f, 1.0f) + 1.0f) / 2.0f * 255.0f));
  }
  const Shape shape{static_cast<std::int64_t>(a.size())};
  const Elementwise op{
      .kind = ElementwiseKind::kUnitToU8, .a = Put(DType::kF32, shape, a), .out = Make(DType::kU8, shape)};
  ASSERT_EQ(Run(op), absl::OkStatus());
  const Numbers actual = Get(op.out);
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(actual[i], expected[i]) << i << ": " << a[i];
}

class FillOp : public OpTest {};
OVI_ON_EVERY_BACKEND(FillOp);

TEST_P(FillOp, WritesEveryElementAndNothingElse) {
  for (const DType dtype : kDTypes) {
    for (const std::int64_t count : {0, 1, 33, 16385, 70001}) {
      ArenaScope scope(arena());
      const Tensor whole = Put(dtype, {count + 2}, Numbers(static_cast<std::size_t>(count + 2), 7.0));
      ASSERT_EQ(Run(Fill{.out = whole.Slice(1, count), .value = 0.3f}), absl::OkStatus());
      Numbers expected(static_cast<std::size_t>(count + 2), Round(dtype, 0.3f));
      expected.front() = expected.back() = 7;
      EXPECT_EQ(Get(whole), expected) << count;
    }
  }
}

}  // namespace
}  // namespace ovi
