// LayerNorm, RmsNorm, Rope and ChannelNorm against their formulas in double, rounded where the contracts
// round.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/kernels/op_test.h"

namespace ovi {
namespace {

using test::ExpectNumbers;
using test::Numbers;
using test::OpTest;
using test::Round;

struct Size {
  std::int64_t rows, channels;
};
constexpr Size kSizes[] = {{1, 1}, {3, 5}, {9, 33}, {70, 130}, {2, 3072}, {0, 7}};
constexpr DType kDTypes[] = {DType::kF32, DType::kBF16};

std::size_t Index(std::int64_t row, std::int64_t channels, std::int64_t c) {
  return static_cast<std::size_t>(row * channels + c);
}

double Silu(double x) {
  return x / (1 + std::exp(-x));
}

class LayerNormOp : public OpTest {};
OVI_ON_EVERY_BACKEND(LayerNormOp);

struct LayerNormNumbers {
  Numbers x, weight, bias, scale, shift;
};

Numbers LayerNormByHand(const LayerNormNumbers& in, const Size& size, DType dtype, double eps) {
  Numbers out(in.x.size());
  const auto channels = static_cast<double>(size.channels);
  for (std::int64_t t = 0; t < size.rows; ++t) {
    double mean = 0;
    double variance = 0;
    for (std::int64_t c = 0; c < size.channels; ++c) mean += in.x[Index(t, size.channels, c)] / channels;
    for (std::int64_t c = 0; c < size.channels; ++c) {
      variance += std::pow(in.x[Index(t, size.channels, c)] - mean, 2) / channels;
    }
    for (std::int64_t c = 0; c < size.channels; ++c) {
      const auto at = static_cast<std::size_t>(c);
      double n = (in.x[Index(t, size.channels, c)] - mean) / std::sqrt(variance + eps);
      if (!in.weight.empty()) n = n * in.weight[at] + in.bias[at];
      n = Round(dtype, n);
      if (!in.scale.empty()) {
        n = Round(dtype, Round(dtype, n * Round(dtype, 1 + in.scale[at])) + in.shift[at]);
      }
      out[Index(t, size.channels, c)] = n;
    }
  }
  return out;
}

TEST_P(LayerNormOp, FollowsItsFormulaInEveryForm) {
  for (const DType dtype : kDTypes) {
    for (const Size& size : kSizes) {
      for (const bool affine : {false, true}) {
        for (const bool modulated : {false, true}) {
          SCOPED_TRACE(absl::StrCat(ElementBytes(dtype), " bytes, ", size.rows, "x", size.channels,
                                    affine ? " affine" : "", modulated ? " modulated" : ""));
          ArenaScope scope(arena());
          const Shape vector{size.channels};
          LayerNormNumbers in{.x = Random(dtype, size.rows * size.channels),
                              .weight = {},
                              .bias = {},
                              .scale = {},
                              .shift = {}};
          LayerNorm op{.x = Put(dtype, {size.rows, size.channels}, in.x),
                       .eps = 1e-5f,
                       .out = Make(dtype, {size.rows, size.channels})};
          const auto parameter = [&](Numbers& values) {
            values = Random(DType::kF32, size.channels, 0.5);
            return Put(DType::kF32, vector, values);
          };
          if (affine) {
            op.weight = parameter(in.weight);
            op.bias = parameter(in.bias);
          }
          if (modulated) {
            op.scale = parameter(in.scale);
            op.shift = parameter(in.shift);
          }
          ASSERT_EQ(Run(op), absl::OkStatus());
          ExpectNumbers(dtype, Get(op.out), LayerNormByHand(in, size, dtype, 1e-5f), /*scale=*/0.5);
        }
      }
    }
  }
}

TEST_P(LayerNormOp, KeepsItsPrecisionWhenTheMeanIsFarFromZero) {
  const Size size{5, 300};
  LayerNormNumbers in{.x = Random(DType::kF32, 1500, 1), .weight = {}, .bias = {}, .scale = {}, .shift = {}};
  for (double& x : in.x) x = Round(DType::kF32, x + 4000);
  const LayerNorm op{.x = Put(DType::kF32, {5, 300}, in.x), .out = Make(DType::kF32, {5, 300})};
  ASSERT_EQ(Run(op), absl::OkStatus());
  const Numbers expected = LayerNormByHand(in, size, DType::kF32, 1e-6f);
  const Numbers actual = Get(op.out);
  // The f32 sum behind the mean costs some digits, in any order; E[x^2] - E[x]^2 would be off by its whole
  // value.
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(actual[i], expected[i], 1e-2) << i;
}

// A table of (cos, sin) for random angles.
Numbers RandomRotations(std::mt19937& random, std::int64_t positions, std::int64_t pairs) {
  std::uniform_real_distribution<double> uniform(-10, 10);
  Numbers table;
  for (std::int64_t i = 0; i < positions * pairs; ++i) {
    const double angle = uniform(random);
    table.push_back(Round(DType::kF32, std::cos(angle)));
    table.push_back(Round(DType::kF32, std::sin(angle)));
  }
  return table;
}

struct RopeSize {
  std::int64_t rows, heads, head_dim, positions, pairs;
};
constexpr RopeSize kRopeSizes[] = {
    {5, 3, 8, 5, 4}, {7, 2, 10, 4, 3},                       // a padded sequence, some pairs left alone
    {1, 1, 2, 1, 1}, {3, 24, 128, 3, 64}, {9, 5, 6, 20, 3},  // more table than rows
    {4, 2, 6, 0, 3}, {4, 2, 6, 4, 0},     {0, 2, 6, 3, 3},  {40, 24, 128, 38, 22}};

Numbers RopeByHand(const Numbers& x, const Numbers& table, const RopeSize& size, DType dtype) {
  Numbers out = x;
  const std::int64_t channels = size.heads * size.head_dim;
  for (std::int64_t t = 0; t < std::min(size.rows, size.positions); ++t) {
    for (std::int64_t head = 0; head < size.heads; ++head) {
      for (std::int64_t pair = 0; pair < size.pairs; ++pair) {
        const std::size_t first = Index(t, channels, head * size.head_dim + 2 * pair);
        const double cos = table[Index(t, 2 * size.pairs, 2 * pair)];
        const double sin = table[Index(t, 2 * size.pairs, 2 * pair + 1)];
        out[first] = Round(dtype, x[first] * cos - x[first + 1] * sin);
        out[first + 1] = Round(dtype, x[first] * sin + x[first + 1] * cos);
      }
    }
  }
  return out;
}

class RopeOp : public OpTest {};
OVI_ON_EVERY_BACKEND(RopeOp);

TEST_P(RopeOp, TurnsAdjacentPairsAndPassesTheRest) {
  for (const DType dtype : kDTypes) {
    for (const RopeSize& size : kRopeSizes) {
      SCOPED_TRACE(absl::StrCat(size.rows, " rows of ", size.heads, "x", size.head_dim));
      ArenaScope scope(arena());
      const Shape shape{size.rows, size.heads * size.head_dim};
      const Numbers x = Random(dtype, shape.elements());
      const Numbers table = RandomRotations(random(), size.positions, size.pairs);
      Rope op{.x = Put(dtype, shape, x),
              .table = Put(DType::kF32, {size.positions, size.pairs, 2}, table),
              .heads = size.heads,
              .out = Make(dtype, shape)};
      const Numbers expected = RopeByHand(x, table, size, dtype);
      ASSERT_EQ(Run(op), absl::OkStatus());
      ExpectNumbers(dtype, Get(op.out), expected, /*scale=*/0.25);
      op.out = op.x;
      ASSERT_EQ(Run(op), absl::OkStatus());
      ExpectNumbers(dtype, Get(op.out), expected, /*scale=*/0.25);
    }
  }
}

class RmsNormOp : public OpTest {};
OVI_ON_EVERY_BACKEND(RmsNormOp);

Numbers RmsNormByHand(const Numbers& x, const Numbers& weight, std::int64_t rows, DType dtype, double eps) {
  Numbers out(x.size());
  const auto channels = static_cast<std::int64_t>(weight.size());
  for (std::int64_t t = 0; t < rows; ++t) {
    double squares = 0;
    for (std::int64_t c = 0; c < channels; ++c) squares += std::pow(x[Index(t, channels, c)], 2);
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::size_t at = Index(t, channels, c);
      const double n = Round(dtype, x[at] / std::sqrt(squares / static_cast<double>(channels) + eps));
      out[at] = Round(dtype, n * weight[static_cast<std::size_t>(c)]);
    }
  }
  return out;
}

TEST_P(RmsNormOp, FollowsItsFormulaWithoutARotation) {
  for (const DType dtype : kDTypes) {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(absl::StrCat(size.rows, "x", size.channels));
      ArenaScope scope(arena());
      const Shape shape{size.rows, size.channels};
      const Numbers x = Random(dtype, shape.elements());
      const Numbers weight = Random(DType::kF32, size.channels);
      RmsNorm op{.x = Put(dtype, shape, x),
                 .weight = Put(DType::kF32, {size.channels}, weight),
                 .eps = 1e-3f,
                 .out = Make(dtype, shape)};
      ASSERT_EQ(Run(op), absl::OkStatus());
      ExpectNumbers(dtype, Get(op.out), RmsNormByHand(x, weight, size.rows, dtype, 1e-3f));
      op.out = op.x;
      ASSERT_EQ(Run(op), absl::OkStatus());
      ExpectNumbers(dtype, Get(op.out), RmsNormByHand(x, weight, size.rows, dtype, 1e-3f));
    }
  }
}

TEST_P(RmsNormOp, TurnsWhatItNormalisedAsRopeWould) {
  for (const DType dtype : kDTypes) {
    for (const RopeSize& size : kRopeSizes) {
      SCOPED_TRACE(absl::StrCat(size.rows, " rows of ", size.heads, "x", size.head_dim));
      ArenaScope scope(arena());
      const Shape shape{size.rows, size.heads * size.head_dim};
      const Numbers x = Random(dtype, shape.elements());
      const Numbers weight = Random(DType::kF32, shape[1]);
      const Numbers table = RandomRotations(random(), size.positions, size.pairs);
      const RmsNorm op{.x = Put(dtype, shape, x),
                       .weight = Put(DType::kF32, {shape[1]}, weight),
                       .rope_table = Put(DType::kF32, {size.positions, size.pairs, 2}, table),
                       .heads = size.heads,
                       .out = Make(dtype, shape)};
      ASSERT_EQ(Run(op), absl::OkStatus());
      const Numbers normalised = RmsNormByHand(x, weight, size.rows, dtype, 1e-6f);
      ExpectNumbers(dtype, Get(op.out), RopeByHand(normalised, table, size, dtype), /*scale=*/2);
    }
  }
}

TEST_P(RmsNormOp, KeepsARowOfZerosZero) {
  const RmsNorm op{.x = Put(DType::kF32, {1, 3}, {0, 0, 0}),
                   .weight = Put(DType::kF32, {3}, {1, 2, 3}),
                   .out = Make(DType::kF32, {1, 3})};
  ASSERT_EQ(Run(op), absl::OkStatus());
  EXPECT_EQ(Get(op.out), Numbers({0, 0, 0}));
}

class ChannelNormOp : public OpTest {};
OVI_ON_EVERY_BACKEND(ChannelNormOp);

Numbers ChannelNormByHand(const ChannelNorm& op, const Numbers& x, const Numbers& weight) {
  const DType dtype = op.x.dtype;
  const std::int64_t channels = op.x.shape[-1];
  Numbers out(x.size());
  for (std::size_t first = 0; first < x.size(); first += static_cast<std::size_t>(channels)) {
    double squares = 0;
    for (std::int64_t c = 0; c < channels; ++c)
      squares += std::pow(x[first + static_cast<std::size_t>(c)], 2);
    const double root = std::sqrt(static_cast<double>(channels));
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto at = static_cast<std::size_t>(c);
      double y = op.rule == ChannelNormRule::kWan
                     ? x[first + at] / std::max(std::sqrt(squares), 1e-12) * root * weight[at]
                     : x[first + at] / (1e-4 + std::sqrt(squares) / root);
      y = Round(dtype, y);
      if (op.activation == Activation::kSilu) y = Round(dtype, Silu(y));
      if (op.activation_scale != 1) y = Round(dtype, y * op.activation_scale);
      out[first + at] = y;
    }
  }
  return out;
}

TEST_P(ChannelNormOp, FollowsBothRulesWithEveryActivation) {
  const Shape shapes[] = {{1}, {5, 3}, {2, 3, 5, 33}, {17, 160}, {3, 1024}, {0, 4}, {3, 0}};
  for (const DType dtype : kDTypes) {
    for (const Shape& shape : shapes) {
      for (const ChannelNormRule rule : {ChannelNormRule::kWan, ChannelNormRule::kMagnitude}) {
        for (const Activation activation : {Activation::kNone, Activation::kSilu}) {
          for (const float scale : {1.0f, 1 / 0.596f}) {
            SCOPED_TRACE(absl::StrCat(shape.ToString(), " rule ", static_cast<int>(rule), " activation ",
                                      static_cast<int>(activation), " scale ", scale));
            ArenaScope scope(arena());
            Numbers x = Random(dtype, shape.elements());
            if (shape.rank() > 1 && !x.empty())
              std::fill_n(x.begin(), shape[-1], 0.0);  // a position of zeros
            const Numbers weight = Random(DType::kF32, shape[-1]);
            ChannelNorm op{.x = Put(dtype, shape, x),
                           .rule = rule,
                           .activation = activation,
                           .activation_scale = scale,
                           .out = Make(dtype, shape)};
            if (rule == ChannelNormRule::kWan) op.weight = Put(DType::kF32, {shape[-1]}, weight);
            const Numbers expected = ChannelNormByHand(op, x, weight);
            ASSERT_EQ(Run(op), absl::OkStatus());
            ExpectNumbers(dtype, Get(op.out), expected);
            op.out = op.x;
            ASSERT_EQ(Run(op), absl::OkStatus());
            ExpectNumbers(dtype, Get(op.out), expected);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ovi
