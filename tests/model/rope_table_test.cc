// The rotary tables against their formulas, in double.
#include "worker/model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "worker/model/fusion_dit.h"

namespace ovi {
namespace {

TEST(RopeSplit, GivesTimeWhatTheThirdsLeave) {
  const struct {
    std::int64_t head_dim, time, space;
  } rows[] = {{128, 22, 21}, {12, 2, 2}, {16, 4, 2}, {2, 1, 0}, {10, 3, 1}};
  for (const auto& row : rows) {
    const RopeSplit split = SplitPairs(row.head_dim);
    EXPECT_EQ(split.time, row.time) << row.head_dim;
    EXPECT_EQ(split.row, row.space) << row.head_dim;
    EXPECT_EQ(split.column, row.space) << row.head_dim;
    // The original's own expression: nt = (d - 4 floor(d/6)) / 2.
    EXPECT_EQ(split.time, (row.head_dim - 4 * (row.head_dim / 6)) / 2);
  }
}

// theta^(-2j/d) of the model: d = 44 for time and 42 for rows and columns.
double Frequency(std::int64_t j, double d) {
  return std::exp(-2.0 * static_cast<double>(j) / d * std::log(10000.0));
}

void ExpectAngle(const std::vector<float>& table, std::int64_t pair, double angle) {
  const auto at = static_cast<std::size_t>(2 * pair);
  // f32 results of f64 angles; the tolerance is half a unit of the last place near 1 and the f64 noise of exp
  // and pow.
  ASSERT_NEAR(table[at], std::cos(angle), 7e-8) << pair;
  ASSERT_NEAR(table[at + 1], std::sin(angle), 7e-8) << pair;
}

TEST(VideoRopeTable, TurnsEachPairByItsAxis) {
  const VideoGrid grid{3, 4, 5};
  EXPECT_EQ(grid.tokens(), 60);
  const std::vector<float> table = VideoRopeTable(grid, 128);
  ASSERT_EQ(table.size(), 60u * 64 * 2);
  for (std::int64_t token = 0; token < 60; ++token) {
    const auto frame = static_cast<double>(token / 20);
    const auto row = static_cast<double>(token / 5 % 4);
    const auto column = static_cast<double>(token % 5);
    for (std::int64_t j = 0; j < 22; ++j) ExpectAngle(table, token * 64 + j, frame * Frequency(j, 44));
    for (std::int64_t j = 0; j < 21; ++j) {
      ExpectAngle(table, token * 64 + 22 + j, row * Frequency(j, 42));
      ExpectAngle(table, token * 64 + 43 + j, column * Frequency(j, 42));
    }
  }
}

TEST(AudioRopeTable, RunsOnTheVideosClock) {
  const std::vector<float> table = AudioRopeTable(314, 128, 0.19676);
  ASSERT_EQ(table.size(), 314u * 22 * 2) << "time pairs only";
  for (std::int64_t token = 0; token < 314; ++token) {
    for (std::int64_t j = 0; j < 22; ++j) {
      ExpectAngle(table, token * 22 + j, static_cast<double>(token) * 0.19676 * Frequency(j, 44));
    }
  }
  // 157 audio latents span 31 video latents.
  EXPECT_NEAR(157 * 0.19676, 31, 0.2);
}

TEST(RopeTables, OfNoTokensAreEmpty) {
  EXPECT_TRUE(VideoRopeTable({0, 4, 5}, 128).empty());
  EXPECT_TRUE(AudioRopeTable(0, 128, 1).empty());
}

TEST(TimeSinusoid, IsCosinesThenSinesOfFallingFrequencies) {
  const std::vector<double> timesteps = {0, 999, 0.5};
  const std::vector<float> rows = TimeSinusoid(timesteps, 256);
  ASSERT_EQ(rows.size(), 3u * 256);
  for (std::size_t s = 0; s < timesteps.size(); ++s) {
    for (std::size_t j = 0; j < 128; ++j) {
      const double angle = timesteps[s] * std::exp(-std::log(10000.0) * static_cast<double>(j) / 128);
      ASSERT_NEAR(rows[s * 256 + j], std::cos(angle), 7e-8) << s << " " << j;
      ASSERT_NEAR(rows[s * 256 + 128 + j], std::sin(angle), 7e-8) << s << " " << j;
    }
  }
}

}  // namespace
}  // namespace ovi
