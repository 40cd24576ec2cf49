#include "worker/weights/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "worker/pipeline/math/noise.h"
#include "worker/weights/low_rank.h"

namespace ovi {
namespace {

constexpr std::uint64_t kSeed = 7;

std::vector<float> Gaussian(std::int64_t count, std::uint64_t stream) {
  std::vector<float> values(static_cast<std::size_t>(count));
  FillNoise(11, stream, 0, values, false);
  return values;
}

// Gaussian of exactly this rank.
std::vector<float> LowRankMatrix(std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  std::vector<float> w(static_cast<std::size_t>(rows * columns));
  AddLowRank(Gaussian(rows * rank, 1), Gaussian(rank * columns, 2), 1.0F, rows, columns, rank, w);
  return w;
}

double RelativeError(std::span<const float> expected, std::span<const float> actual) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double rest = static_cast<double>(expected[i]) - static_cast<double>(actual[i]);
    error += rest * rest;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return std::sqrt(error / size);
}

LowRankSplit Split(std::span<const float> w, std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  const absl::StatusOr<LowRankSplit> split = SplitLowRank(w, rows, columns, rank, kSeed);
  EXPECT_TRUE(split.ok()) << split.status();
  return split.value_or(LowRankSplit{});
}

double ErrorOf(std::span<const float> w, std::int64_t rows, std::int64_t columns, std::int64_t rank) {
  return RelativeError(w, Expand(Split(w, rows, columns, rank)));
}

std::vector<int> Bits(std::span<const BFloat16> values) {
  std::vector<int> bits;
  for (const BFloat16 value : values) bits.push_back(value.bits);
  return bits;
}

TEST(Compress, LeavesOnlyRoundingOfAMatrixOfTheRank) {
  const std::vector<float> w = LowRankMatrix(90, 200, 5);
  // The pair's own rounding to bf16 (2^-9 of a value) goes into the residual, which keeps nine tenths of it.
  EXPECT_LT(ErrorOf(w, 90, 200, 5), 5e-4);
  EXPECT_GT(ErrorOf(w, 90, 200, 4), 1e-2);
}

TEST(Compress, KeepsWhatIsSmallBesideALargeLowRankPart) {
  std::vector<float> w = LowRankMatrix(90, 200, 5);
  const std::vector<float> small = Gaussian(90 * 200, 3);
  AddScaled(small, 0.05F, w);
  std::vector<float> kept = Expand(Split(w, 90, 200, 5));
  const std::vector<float> large = LowRankMatrix(90, 200, 5);
  AddScaled(large, -1.0F, kept);
  std::vector<float> expected(small.size());
  AddScaled(small, 0.05F, expected);
  EXPECT_LT(RelativeError(expected, kept), 0.11);
}

TEST(Compress, ErrorFallsAsTheRankGrows) {
  const std::vector<float> w = Gaussian(128 * 192, 1);
  double last = 1;
  for (const std::int64_t rank : {0, 8, 32, 64, 128}) {
    const double error = ErrorOf(w, 128, 192, rank);
    EXPECT_LT(error, 0.97 * last) << "rank " << rank;
    last = error;
  }
}

// 0.0904; 0.0998 with steps alike on both sides, 0.1073 with scales that reach the largest value as well.
TEST(Compress, SearchesTheScalesOfTheGroups) {
  EXPECT_LT(ErrorOf(Gaussian(64 * 3072, 1), 64, 3072, 0), 0.093);
}

// 0.0555, and 0.0721 from w's own singular values.
TEST(Compress, FindsThePairAgainForWhatTheResidualCannotHold) {
  EXPECT_LT(ErrorOf(Gaussian(256 * 256, 1), 256, 256, 32), 0.058);
}

// What is farthest from 0 decides the sign of the scale, and gets -8.
TEST(Compress, GivesTheLargestValueTheSideWithOneStepMore) {
  for (const float sign : {1.0F, -1.0F}) {
    std::vector<float> w(64);
    for (int i = 0; i < 64; ++i) w[static_cast<std::size_t>(i)] = sign * static_cast<float>(i % 16 - 7);
    const LowRankSplit split = Split(w, 1, 64, 0);
    EXPECT_EQ(ToFloat(split.scales[0]), -sign);
    EXPECT_EQ(Expand(split), w);
  }
}

TEST(Compress, PacksTwoValuesAByteLowHalfFirst) {
  const std::vector<float> w = {3.5F,   -3.5F, 0.5F, 0.0F,  -1.0F,  //
                                -14.0F, 2.0F,  4.0F, 14.0F, 0.0F};
  const LowRankSplit split = Split(w, 2, 5, 0);
  EXPECT_THAT(split.residual, testing::ElementsAre(0x97, 0x01, 0x0e, 0x19, 0x72, 0x00));
  ASSERT_EQ(split.scales.size(), 2u);
  EXPECT_EQ(ToFloat(split.scales[0]), 0.5F);
  EXPECT_EQ(ToFloat(split.scales[1]), 2.0F);
  EXPECT_EQ(Expand(split), w);
  EXPECT_TRUE(split.up.empty());
  EXPECT_TRUE(split.down.empty());
}

TEST(Compress, RoundsHalfToEven) {
  std::vector<float> w(64);
  for (int i = 0; i < 64; ++i) w[static_cast<std::size_t>(i)] = static_cast<float>(i % 16 - 8);
  w[0] = 2.5F;
  w[1] = 3.5F;
  w[2] = -0.5F;
  w[3] = -1.5F;
  const std::vector<float> rounded = Expand(Split(w, 1, 64, 0));
  EXPECT_THAT(std::vector<float>(rounded.begin(), rounded.begin() + 5),
              testing::ElementsAre(2.0F, 4.0F, 0.0F, -2.0F, -4.0F));
}

// The last group of a row has its own scale, and no row sees its neighbour's values.
TEST(Compress, GroupsAtTheEndOfARowMayBeShort) {
  for (const std::int64_t columns : {1, 2, 63, 64, 65, 127, 129, 191}) {
    SCOPED_TRACE(columns);
    constexpr std::int64_t kRows = 3;
    std::vector<float> w = Gaussian(kRows * columns, 4);
    const std::int64_t last = (columns - 1) / 64 * 64;
    for (std::int64_t i = 0; i < kRows * columns; ++i) {
      w[static_cast<std::size_t>(i)] *= i % columns < last ? 1000.0F : (i / columns == 1 ? 1e-3F : 1.0F);
    }
    const LowRankSplit split = Split(w, kRows, columns, 0);
    EXPECT_EQ(static_cast<std::int64_t>(split.residual.size()), kRows * ((columns + 1) / 2));
    EXPECT_EQ(static_cast<std::int64_t>(split.scales.size()), kRows * (last / 64 + 1));
    const std::vector<float> expanded = Expand(split);
    for (std::int64_t row = 0; row < kRows; ++row) {
      const auto first = static_cast<std::size_t>(row * columns + last);
      const auto count = static_cast<std::size_t>(columns - last);
      EXPECT_LT(RelativeError(std::span(w).subspan(first, count), std::span(expanded).subspan(first, count)),
                0.15)
          << "row " << row;
    }
  }
}

TEST(Compress, ZerosStayZeros) {
  const std::vector<float> zeros(20 * 100);
  for (const std::int64_t rank : {0, 4, 20}) {
    const LowRankSplit split = Split(zeros, 20, 100, rank);
    EXPECT_THAT(split.residual, testing::Each(0));
    EXPECT_THAT(Bits(split.scales), testing::Each(0));
    EXPECT_EQ(Expand(split), zeros);
  }
}

TEST(Compress, TakesNoMoreRanksThanTheMatrixHas) {
  const std::vector<float> w = Gaussian(12 * 70, 1);
  const LowRankSplit split = Split(w, 12, 70, 1000);
  EXPECT_EQ(split.rank, 12);
  EXPECT_EQ(split.up.size(), 12u * 12);
  EXPECT_EQ(split.down.size(), 12u * 70);
  EXPECT_LT(RelativeError(w, Expand(split)), 1e-3);
}

TEST(Compress, MatricesWithoutElementsAreLegal) {
  EXPECT_TRUE(Expand(Split({}, 0, 64, 3)).empty());
  EXPECT_TRUE(Expand(Split({}, 64, 0, 3)).empty());
}

TEST(Compress, DoesNotDependOnTheThreads) {
  const std::vector<float> w = Gaussian(300 * 700, 1);
  LowRankSplit splits[2];
  const int threads = cpu::ThreadCount();
  for (int i = 0; i < 2; ++i) {
    cpu::SetThreadCount(i == 0 ? 1 : 3);
    splits[i] = Split(w, 300, 700, 24);
  }
  cpu::SetThreadCount(threads);
  EXPECT_EQ(Bits(splits[0].up), Bits(splits[1].up));
  EXPECT_EQ(Bits(splits[0].down), Bits(splits[1].down));
  EXPECT_EQ(Bits(splits[0].scales), Bits(splits[1].scales));
  EXPECT_EQ(splits[0].residual, splits[1].residual);
}

TEST(Compress, RefusesValuesThatNoWeightHas) {
  constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(), 65536.0F};
  for (const float bad : kBad) {
    std::vector<float> w(70, 1.0F);
    w[69] = bad;
    const absl::Status status = SplitLowRank(w, 7, 10, 2, kSeed).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("element 69"));
  }
  EXPECT_TRUE(SplitLowRank(std::vector<float>(70, 65504.0F), 7, 10, 2, kSeed).ok());
}

}  // namespace
}  // namespace ovi
