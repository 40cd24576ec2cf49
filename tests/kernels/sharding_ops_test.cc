// The ops that ranks need to share a sequence: bands of columns, and attention put together from its parts.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
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
constexpr double kNone = -std::numeric_limits<double>::infinity();

class CopyColumnsOp : public OpTest {};
OVI_ON_EVERY_BACKEND(CopyColumnsOp);

TEST_P(CopyColumnsOp, MovesTheBandAndNothingElse) {
  struct Case {
    std::int64_t rows, in_columns, in_begin, columns, out_columns, out_begin;
  };
  const Case cases[] = {
      {3, 8, 2, 4, 4, 0}, {3, 4, 0, 4, 9, 5}, {301, 24, 23, 1, 7, 6},        {1, 5, 0, 5, 5, 0},
      {0, 8, 2, 4, 4, 0}, {3, 8, 8, 0, 4, 4}, {65, 3072, 768, 1536, 1536, 0}};
  for (const DType dtype : kDTypes) {
    for (const Case& c : cases) {
      SCOPED_TRACE(absl::StrCat(c.rows, " rows, ", c.columns, " of ", c.in_columns, " columns"));
      ArenaScope scope(arena());
      const Numbers in = Random(dtype, c.rows * c.in_columns);
      Numbers expected = Random(dtype, c.rows * c.out_columns);
      const CopyColumns op{.in = Put(dtype, {c.rows, c.in_columns}, in),
                           .in_begin = c.in_begin,
                           .columns = c.columns,
                           .out = Put(dtype, {c.rows, c.out_columns}, expected),
                           .out_begin = c.out_begin};
      ASSERT_EQ(Run(op), absl::OkStatus());
      for (std::int64_t t = 0; t < c.rows; ++t) {
        for (std::int64_t i = 0; i < c.columns; ++i) {
          expected[static_cast<std::size_t>(t * c.out_columns + c.out_begin + i)] =
              in[static_cast<std::size_t>(t * c.in_columns + c.in_begin + i)];
        }
      }
      EXPECT_EQ(Get(op.out), expected);
    }
  }
}

class MergeAttentionOp : public OpTest {
 protected:
  // Attention over `keys` in runs of the given sizes, merged, is attention over all of them.
  void Check(DType dtype, const std::vector<std::int64_t>& runs, bool accumulate) {
    SCOPED_TRACE(absl::StrCat(std::string(DTypeName(dtype)), ", ", runs.size(), " parts",
                              accumulate ? ", accumulated" : ""));
    ArenaScope scope(arena());
    constexpr std::int64_t kRows = 37, kHeads = 3, kHeadDim = 16, kColumns = kHeads * kHeadDim;
    std::int64_t keys = 0;
    for (const std::int64_t run : runs) keys += run;
    const auto parts = static_cast<std::int64_t>(runs.size());
    const Numbers before = Random(dtype, kRows * kColumns);
    Attention attention{.q = Put(dtype, {kRows, kColumns}, Random(dtype, kRows * kColumns)),
                        .k = Put(dtype, {keys, kColumns}, Random(dtype, keys * kColumns)),
                        .v = Put(dtype, {keys, kColumns}, Random(dtype, keys * kColumns)),
                        .heads = kHeads,
                        .keys = keys,
                        .scale = 0.5f,
                        .accumulate = accumulate,
                        .out = Put(dtype, {kRows, kColumns}, before)};
    const MergeAttention merge{.parts = Make(DType::kF32, {parts, kRows, kColumns}),
                               .lse = Make(DType::kF32, {parts, kHeads, kRows}),
                               .accumulate = accumulate,
                               .out = Put(dtype, {kRows, kColumns}, before)};
    std::int64_t begin = 0;
    for (std::int64_t p = 0; p < parts; begin += runs[static_cast<std::size_t>(p++)]) {
      const std::int64_t run = runs[static_cast<std::size_t>(p)];
      ASSERT_EQ(Run(Attention{.q = attention.q,
                              .k = attention.k.Slice(begin, run),
                              .v = attention.v.Slice(begin, run),
                              .heads = kHeads,
                              .keys = run,
                              .scale = attention.scale,
                              .out = merge.parts.Slice(p, 1).Reshaped({kRows, kColumns}),
                              .lse = merge.lse.Slice(p, 1).Reshaped({kHeads, kRows})}),
                absl::OkStatus());
    }
    ASSERT_EQ(Run(attention), absl::OkStatus());
    ASSERT_EQ(Run(merge), absl::OkStatus());
    const Numbers whole = Get(attention.out);
    const Numbers merged = Get(merge.out);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      error += std::pow(merged[i] - whole[i], 2);
      norm += std::pow(whole[i], 2);
    }
    EXPECT_LE(std::sqrt(error / norm), dtype == DType::kF32 ? 1e-6 : 3e-3);
  }
};
OVI_ON_EVERY_BACKEND(MergeAttentionOp);

TEST_P(MergeAttentionOp, IsAttentionOverAllKeys) {
  for (const DType dtype : kDTypes) {
    for (const bool accumulate : {false, true}) {
      Check(dtype, {64}, accumulate);
      Check(dtype, {1, 63}, accumulate);
      Check(dtype, {17, 0, 40, 5}, accumulate);
      Check(dtype, {8, 8, 8, 8, 8, 8, 8, 8}, accumulate);
    }
  }
}

TEST_P(MergeAttentionOp, WeighsPartsByTheirKeys) {
  for (const DType dtype : kDTypes) {
    const MergeAttention op{.parts = Put(DType::kF32, {3, 1, 2}, {1, 2, 3, 4, 100, 100}),
                            .lse = Put(DType::kF32, {3, 2, 1}, {0, 90, std::log(3), 90, kNone, kNone}),
                            .out = Make(dtype, {1, 2})};
    ASSERT_EQ(Run(op), absl::OkStatus());
    ExpectNumbers(dtype, Get(op.out), {(1 + 3 * 3) / 4.0, (2 + 4) / 2.0});
  }
}

TEST_P(MergeAttentionOp, IsZeroWithoutAnyKey) {
  const MergeAttention op{.parts = Make(DType::kF32, {2, 1, 2}),  // NaN throughout
                          .lse = Put(DType::kF32, {2, 1, 1}, {kNone, kNone}),
                          .out = Make(DType::kF32, {1, 2})};
  ASSERT_EQ(Run(op), absl::OkStatus());
  EXPECT_EQ(Get(op.out), Numbers({0, 0}));
}

}  // namespace
}  // namespace ovi
