#include "worker/weights/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/cpu/parallel.h"

namespace ovi {
namespace {

// Pseudo-random in -1..1.
std::vector<float> Noise(std::int64_t count, std::uint32_t state) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
  }
  return values;
}

struct Case {
  std::int64_t rows, columns, rank;
};

// Around the tile of 512 columns, the eight ranks of a pass and the rows of a thread.
constexpr Case kCases[] = {{1, 1, 1},     {3, 5, 2},     {64, 512, 8},   {65, 513, 9},
                           {130, 511, 7}, {7, 1025, 33}, {200, 96, 128}, {2, 3000, 1}};

TEST(AddLowRank, EqualsTheSumsInDouble) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.rows << "x" << c.columns << " rank " << c.rank);
    const std::vector<float> up = Noise(c.rows * c.rank, 1), down = Noise(c.rank * c.columns, 2);
    const std::vector<float> base = Noise(c.rows * c.columns, 3);
    std::vector<float> merged = base;
    AddLowRank(up, down, 0.75F, c.rows, c.columns, c.rank, merged);
    for (std::int64_t i = 0; i < c.rows; ++i) {
      for (std::int64_t j = 0; j < c.columns; ++j) {
        const auto at = static_cast<std::size_t>(i * c.columns + j);
        double expected = static_cast<double>(base[at]);
        double size = std::abs(expected);
        for (std::int64_t k = 0; k < c.rank; ++k) {
          const double product = 0.75 * static_cast<double>(up[static_cast<std::size_t>(i * c.rank + k)]) *
                                 static_cast<double>(down[static_cast<std::size_t>(k * c.columns + j)]);
          expected += product;
          size += std::abs(product);
        }
        // Each of the rank + 2 roundings is at most 2^-24 of the sum of magnitudes.
        ASSERT_NEAR(static_cast<double>(merged[at]), expected, static_cast<double>(c.rank + 2) * 6e-8 * size);
      }
    }
  }
}

TEST(AddLowRank, DoesNotDependOnTheThreads) {
  const std::vector<float> up = Noise(300 * 12, 1), down = Noise(12 * 700, 2);
  std::vector<float> merged[2];
  const int threads = cpu::ThreadCount();
  for (int i = 0; i < 2; ++i) {
    cpu::SetThreadCount(i == 0 ? 1 : 3);
    merged[i] = Noise(300 * 700, 3);
    AddLowRank(up, down, 1.5F, 300, 700, 12, merged[i]);
  }
  cpu::SetThreadCount(threads);
  EXPECT_EQ(merged[0], merged[1]);
}

}  // namespace
}  // namespace ovi
