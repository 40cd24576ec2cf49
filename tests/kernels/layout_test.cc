// Permute, Upsample and the autoencoder's shortcuts against their index formulas.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
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

class PermuteOp : public OpTest {
 protected:
  // Moves random bytes through Permute and through a loop over out's indices.
  void Check(DType dtype, const Shape& shape, const std::array<int, 8>& axes) {
    SCOPED_TRACE(absl::StrCat(std::string(DTypeName(dtype)), " ", shape.ToString()));
    ArenaScope scope(arena());
    const int rank = shape.rank();
    Shape out_shape = shape;
    for (int axis = 0; axis < rank; ++axis) out_shape.set(axis, shape[axes[static_cast<std::size_t>(axis)]]);
    const auto size = static_cast<std::size_t>(ElementBytes(dtype));
    std::vector<std::uint8_t> in(static_cast<std::size_t>(shape.elements()) * size);
    for (std::uint8_t& byte : in) byte = static_cast<std::uint8_t>(random()());
    const Permute op{.in = Make(dtype, shape), .axes = axes, .out = Make(dtype, out_shape)};
    stream().Upload(op.in, HostTensor{in.data(), dtype, shape});
    ASSERT_EQ(Run(op), absl::OkStatus());
    std::vector<std::uint8_t> actual(in.size());
    stream().Download(actual.data(), op.out);
    ASSERT_EQ(stream().Sync(), absl::OkStatus());

    std::vector<std::uint8_t> expected;
    for (std::int64_t flat = 0; flat < shape.elements(); ++flat) {
      std::array<std::int64_t, 8> in_index{};
      std::int64_t rest = flat;
      for (int axis = rank - 1; axis >= 0; --axis) {
        in_index[static_cast<std::size_t>(axes[static_cast<std::size_t>(axis)])] = rest % out_shape[axis];
        rest /= out_shape[axis];
      }
      std::size_t from = 0;
      for (int axis = 0; axis < rank; ++axis) {
        from = from * static_cast<std::size_t>(shape[axis]) +
               static_cast<std::size_t>(in_index[static_cast<std::size_t>(axis)]);
      }
      expected.insert(expected.end(), in.begin() + static_cast<std::ptrdiff_t>(from * size),
                      in.begin() + static_cast<std::ptrdiff_t>((from + 1) * size));
    }
    EXPECT_EQ(actual, expected);
  }
};
OVI_ON_EVERY_BACKEND(PermuteOp);

TEST_P(PermuteOp, MovesElementsOfEverySizeInEveryRank) {
  const DType sizes[] = {DType::kU8,  DType::kF8E4M3, DType::kI8,  DType::kBF16,
                         DType::kF16, DType::kF32,    DType::kI32, DType::kI64};
  for (const DType dtype : sizes) {
    for (int rank = 0; rank <= Shape::kMaxRank; ++rank) {
      for (int draw = 0; draw < 4; ++draw) {
        std::array<std::int64_t, 8> extents{};
        for (auto& extent : extents)
          extent = std::int64_t{1} + static_cast<std::int64_t>(random()() % (rank > 5 ? 3 : 7));
        std::array<int, 8> axes{};
        std::iota(axes.begin(), axes.begin() + rank, 0);
        std::shuffle(axes.begin(), axes.begin() + rank, random());
        Check(dtype, Shape::FromRange(extents.data(), rank), axes);
      }
    }
  }
}

TEST_P(PermuteOp, TakesLongRowsManyRowsAndEmptyTensors) {
  Check(DType::kF32, {257, 3001}, {1, 0});
  Check(DType::kBF16, {3, 5, 2003}, {1, 0, 2});
  Check(DType::kU8, {1, 300001}, {1, 0});
  Check(DType::kF32, {3, 0, 4}, {2, 0, 1});
  Check(DType::kF32, {0}, {0});
}

class UpsampleOp : public OpTest {};
OVI_ON_EVERY_BACKEND(UpsampleOp);

TEST_P(UpsampleOp, RepeatsRowsAndColumns) {
  struct Case {
    Shape in;
    std::int64_t fy, fx;
  };
  const Case cases[] = {{{2, 3, 5, 7}, 2, 2}, {{1, 1, 9, 3}, 1, 2}, {{3, 2, 1, 1}, 3, 1},
                        {{1, 4, 4, 2}, 1, 1}, {{0, 3, 5, 7}, 2, 2}, {{2, 3, 5, 0}, 2, 2}};
  for (const DType dtype : kDTypes) {
    for (const Case& c : cases) {
      SCOPED_TRACE(c.in.ToString());
      ArenaScope scope(arena());
      const Numbers in = Random(dtype, c.in.elements());
      const Shape out{c.in[0], c.in[1] * c.fy, c.in[2] * c.fx, c.in[3]};
      const Upsample op{.in = Put(dtype, c.in, in), .out = Make(dtype, out)};
      ASSERT_EQ(Run(op), absl::OkStatus());
      Numbers expected;
      for (std::int64_t f = 0; f < out[0]; ++f) {
        for (std::int64_t y = 0; y < out[1]; ++y) {
          for (std::int64_t x = 0; x < out[2]; ++x) {
            for (std::int64_t ch = 0; ch < out[3]; ++ch) {
              expected.push_back(in[static_cast<std::size_t>(
                  ((f * c.in[1] + y / c.fy) * c.in[2] + x / c.fx) * c.in[3] + ch)]);
            }
          }
        }
      }
      EXPECT_EQ(Get(op.out), expected);
    }
  }
}

class UpShortcutOp : public OpTest {};
OVI_ON_EVERY_BACKEND(UpShortcutOp);

TEST_P(UpShortcutOp, AddsWhatDupUpRepeats) {
  struct Case {
    Shape in;
    std::int64_t out_channels, time_factor, drop;
  };
  const Case cases[] = {{{2, 3, 5, 8}, 8, 2, 1}, {{2, 3, 5, 8}, 8, 2, 0}, {{1, 2, 3, 6}, 3, 1, 0},
                        {{3, 1, 1, 4}, 1, 1, 0}, {{1, 2, 2, 3}, 6, 4, 3}, {{1, 1, 3, 5}, 5, 2, 1},
                        {{0, 2, 2, 4}, 4, 1, 0}, {{2, 0, 3, 4}, 2, 2, 1}};
  for (const DType dtype : kDTypes) {
    for (const Case& c : cases) {
      SCOPED_TRACE(absl::StrCat(c.in.ToString(), " to ", c.out_channels, ", time factor ", c.time_factor,
                                ", drop ", c.drop));
      ArenaScope scope(arena());
      const std::int64_t ft = c.time_factor;
      const Shape shape{c.in[0] * ft - c.drop, c.in[1] * 2, c.in[2] * 2, c.out_channels};
      const Numbers in = Random(dtype, c.in.elements());
      const Numbers x = Random(dtype, shape.elements());
      const UpShortcut op{
          .in = Put(dtype, c.in, in), .time_factor = ft, .drop = c.drop, .x = Put(dtype, shape, x)};
      ASSERT_EQ(Run(op), absl::OkStatus());
      Numbers expected = x;
      const std::int64_t rep = c.out_channels * ft * 4 / c.in[3];
      for (std::int64_t t = 0; t < c.in[0]; ++t) {
        for (std::int64_t a = 0; a < ft; ++a) {
          if (t * ft + a < c.drop) continue;
          for (std::int64_t y = 0; y < c.in[1]; ++y) {
            for (std::int64_t b = 0; b < 2; ++b) {
              for (std::int64_t column = 0; column < c.in[2]; ++column) {
                for (std::int64_t d = 0; d < 2; ++d) {
                  for (std::int64_t o = 0; o < c.out_channels; ++o) {
                    const std::int64_t to =
                        (((t * ft + a - c.drop) * shape[1] + 2 * y + b) * shape[2] + 2 * column + d) *
                            c.out_channels +
                        o;
                    const std::int64_t from = ((t * c.in[1] + y) * c.in[2] + column) * c.in[3] +
                                              (o * ft * 4 + a * 4 + b * 2 + d) / rep;
                    double& value = expected[static_cast<std::size_t>(to)];
                    value = Round(dtype, value + in[static_cast<std::size_t>(from)]);
                  }
                }
              }
            }
          }
        }
      }
      EXPECT_EQ(Get(op.x), expected);
    }
  }
}

class DownShortcutOp : public OpTest {};
OVI_ON_EVERY_BACKEND(DownShortcutOp);

TEST_P(DownShortcutOp, AddsTheAveragesOfItsGroups) {
  struct Case {
    Shape in;
    std::int64_t out_channels, time_factor, space_factor;
  };
  const Case cases[] = {{{4, 6, 4, 4}, 8, 2, 2},  // groups of 4
                        {{3, 4, 2, 3}, 4, 2, 2},  // groups of 6, a zero frame in front
                        {{1, 2, 2, 4}, 2, 2, 2},  // one frame alone
                        {{2, 2, 6, 5}, 5, 1, 2}, {{3, 3, 2, 6}, 6, 1, 1},  // the identity
                        {{5, 3, 3, 2}, 9, 4, 3},                           // three zero frames in front
                        {{0, 4, 4, 2}, 2, 2, 2}, {{2, 4, 0, 2}, 2, 2, 2}};
  for (const DType dtype : kDTypes) {
    for (const Case& c : cases) {
      SCOPED_TRACE(absl::StrCat(c.in.ToString(), " to ", c.out_channels));
      ArenaScope scope(arena());
      const std::int64_t ft = c.time_factor;
      const std::int64_t fs = c.space_factor;
      const Shape shape{(c.in[0] + ft - 1) / ft, c.in[1] / fs, c.in[2] / fs, c.out_channels};
      const std::int64_t missing = shape[0] * ft - c.in[0];
      const std::int64_t group = c.in[3] * ft * fs * fs / c.out_channels;
      const Numbers in = Random(dtype, c.in.elements());
      const Numbers x = Random(dtype, shape.elements());
      const DownShortcut op{
          .in = Put(dtype, c.in, in), .time_factor = ft, .space_factor = fs, .x = Put(dtype, shape, x)};
      ASSERT_EQ(Run(op), absl::OkStatus());
      Numbers expected;
      for (std::int64_t pixel = 0; pixel < shape.elements() / c.out_channels; ++pixel) {
        const std::int64_t t = pixel / (shape[1] * shape[2]);
        const std::int64_t y = pixel / shape[2] % shape[1];
        const std::int64_t column = pixel % shape[2];
        Numbers values;
        for (std::int64_t ci = 0; ci < c.in[3]; ++ci) {
          for (std::int64_t a = 0; a < ft; ++a) {
            for (std::int64_t b = 0; b < fs; ++b) {
              for (std::int64_t d = 0; d < fs; ++d) {
                const std::int64_t frame = t * ft + a - missing;
                const std::int64_t from =
                    ((frame * c.in[1] + y * fs + b) * c.in[2] + column * fs + d) * c.in[3] + ci;
                values.push_back(frame < 0 ? 0 : in[static_cast<std::size_t>(from)]);
              }
            }
          }
        }
        for (std::int64_t o = 0; o < c.out_channels; ++o) {
          const auto first = values.begin() + o * group;
          const double mean = std::accumulate(first, first + group, 0.0) / static_cast<double>(group);
          expected.push_back(Round(dtype, x[static_cast<std::size_t>(pixel * c.out_channels + o)] + mean));
        }
      }
      ExpectNumbers(dtype, Get(op.x), expected, /*scale=*/0.25);
    }
  }
}

}  // namespace
}  // namespace ovi
