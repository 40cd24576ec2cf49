#include "worker/weights/truncated_svd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include "worker/pipeline/math/noise.h"
#include "worker/weights/low_rank.h"

namespace ovi {
namespace {

// The first `count` rows of a Hadamard matrix of this size, a power of two, as unit vectors.
std::vector<float> HadamardRows(std::int64_t count, std::int64_t size) {
  std::vector<float> rows;
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < size; ++j) {
      const int sign = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1 : -1;
      rows.push_back(static_cast<float>(sign / std::sqrt(static_cast<double>(size))));
    }
  }
  return rows;
}

std::vector<float> Transposed(std::span<const float> w, std::int64_t rows, std::int64_t columns) {
  std::vector<float> out(w.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      out[static_cast<std::size_t>(j * rows + i)] = w[static_cast<std::size_t>(i * columns + j)];
    }
  }
  return out;
}

// With these singular values, and known vectors.
std::vector<float> KnownMatrix(std::int64_t rows, std::int64_t columns, std::span<const float> values) {
  const auto rank = static_cast<std::int64_t>(values.size());
  std::vector<float> left = Transposed(HadamardRows(rank, rows), rank, rows);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] *= values[i % values.size()];
  std::vector<float> w(static_cast<std::size_t>(rows * columns));
  AddLowRank(left, HadamardRows(rank, columns), 1.0F, rows, columns, rank, w);
  return w;
}

// Largest |a a^T - 1| of the rows.
double FarFromOrthonormal(std::span<const float> a, std::int64_t rows, std::int64_t columns) {
  double worst = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < rows; ++k) {
      double product = i == k ? -1 : 0;
      for (std::int64_t j = 0; j < columns; ++j) {
        product += static_cast<double>(a[static_cast<std::size_t>(i * columns + j)]) *
                   static_cast<double>(a[static_cast<std::size_t>(k * columns + j)]);
      }
      worst = std::max(worst, std::abs(product));
    }
  }
  return worst;
}

double SumOfSquares(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

struct Case {
  std::int64_t rows, columns, rank;
};

// Wide, tall, of one slice and of several, and with a sketch as wide as the matrix.
constexpr Case kCases[] = {{64, 512, 3}, {512, 64, 3}, {1024, 32, 4}, {8, 1024, 4}, {16, 16, 4}, {4, 4, 4}};

TEST(TruncatedSvd, FindsTheLargestValuesAndTheirVectors) {
  const float values[] = {9.0F, 4.0F, 1.0F, 0.25F};
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.rows << "x" << c.columns << " rank " << c.rank);
    const std::vector<float> w = KnownMatrix(c.rows, c.columns, values);
    const absl::StatusOr<TruncatedSvd> svd = FindTruncatedSvd(w, c.rows, c.columns, c.rank, 3);
    ASSERT_TRUE(svd.ok()) << svd.status();
    ASSERT_EQ(static_cast<std::int64_t>(svd->values.size()), c.rank);
    for (std::size_t k = 0; k < svd->values.size(); ++k) EXPECT_NEAR(svd->values[k], values[k], 1e-5F);
    EXPECT_LT(FarFromOrthonormal(svd->right, c.rank, c.columns), 1e-5);
    EXPECT_LT(FarFromOrthonormal(Transposed(svd->left, c.rows, c.rank), c.rank, c.rows), 1e-5);

    // What is left has the values left out.
    std::vector<float> up = svd->left;
    for (std::size_t i = 0; i < up.size(); ++i) up[i] *= svd->values[i % svd->values.size()];
    std::vector<float> rest = w;
    AddLowRank(up, svd->right, -1.0F, c.rows, c.columns, c.rank, rest);
    EXPECT_NEAR(std::sqrt(SumOfSquares(rest)), c.rank == 3 ? 0.25 : 0.0, 1e-4);
  }
}

// A flat spectrum is the hard case: 0.91 of what there is, and 0.62 without power iterations.
TEST(TruncatedSvd, CatchesMostOfASlowlyFallingSpectrum) {
  std::vector<float> values;
  double largest = 0;
  for (int k = 0; k < 256; ++k) {
    values.push_back(static_cast<float>(std::pow(0.995, k)));
    if (k < 16) largest += std::pow(0.995, 2 * k);
  }
  const std::vector<float> w = KnownMatrix(256, 512, values);
  const absl::StatusOr<TruncatedSvd> svd = FindTruncatedSvd(w, 256, 512, 16, 3);
  ASSERT_TRUE(svd.ok()) << svd.status();
  const double caught = SumOfSquares(svd->values);
  EXPECT_LE(caught, largest * 1.0001);
  EXPECT_GT(caught, largest * 0.88);
}

// Of the hard case above with small noise on it: one pass catches as much as the whole search.
TEST(TruncatedSvd, FindsThatOfANearMatrixInOnePass) {
  std::vector<float> values;
  for (int k = 0; k < 256; ++k) values.push_back(static_cast<float>(std::pow(0.995, k)));
  std::vector<float> w = KnownMatrix(256, 512, values);
  const absl::StatusOr<TruncatedSvd> first = FindTruncatedSvd(w, 256, 512, 16, 3);
  ASSERT_TRUE(first.ok()) << first.status();
  std::vector<float> noise(w.size());
  FillNoise(11, 1, 0, noise, false);
  AddScaled(noise, 0.002F, w);
  const absl::StatusOr<TruncatedSvd> whole = FindTruncatedSvd(w, 256, 512, 16, 3);
  const absl::StatusOr<TruncatedSvd> near = FindTruncatedSvdNear(w, 256, 512, *first);
  ASSERT_TRUE(whole.ok() && near.ok()) << whole.status() << near.status();
  EXPECT_EQ(near->rank, 16);
  EXPECT_GT(SumOfSquares(near->values), 0.99 * SumOfSquares(whole->values));
  EXPECT_LT(FarFromOrthonormal(near->right, 16, 512), 1e-5);
  EXPECT_LT(FarFromOrthonormal(Transposed(near->left, 256, 16), 16, 256), 1e-5);
}

TEST(TruncatedSvd, RankZeroIsEmpty) {
  const absl::StatusOr<TruncatedSvd> svd = FindTruncatedSvd(std::vector<float>(6, 1.0F), 2, 3, 0, 3);
  ASSERT_TRUE(svd.ok()) << svd.status();
  EXPECT_TRUE(svd->left.empty() && svd->values.empty() && svd->right.empty());
}

TEST(TruncatedSvd, RefusesValuesWhoseProductsLeaveF32) {
  EXPECT_EQ(FindTruncatedSvd(std::vector<float>(64 * 64, 3e38F), 64, 64, 2, 3).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ovi
