#include "worker/model/rope_table.h"

#include <cmath>

namespace ovi {
namespace {

// (positions, pairs, 2): cos and sin of position * scaling * frequency.
std::vector<float> AxisTable(std::int64_t positions, std::int64_t pairs, double scaling) {
  const std::vector<double> frequencies = RopeFrequencies(pairs);
  std::vector<float> table;
  table.reserve(static_cast<std::size_t>(positions * pairs * 2));
  for (std::int64_t position = 0; position < positions; ++position) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * (scaling * frequency);
      table.push_back(static_cast<float>(std::cos(angle)));
      table.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return table;
}

}  // namespace

RopeSplit SplitPairs(std::int64_t head_dim) {
  const std::int64_t pairs = head_dim / 2;
  return {.time = pairs - 2 * (pairs / 3), .row = pairs / 3, .column = pairs / 3};
}

std::vector<double> RopeFrequencies(std::int64_t pairs, double theta) {
  std::vector<double> frequencies;
  for (std::int64_t j = 0; j < pairs; ++j) {
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(2 * pairs)));
  }
  return frequencies;
}

std::vector<float> VideoRopeTable(const VideoGrid& grid, std::int64_t head_dim) {
  const RopeSplit split = SplitPairs(head_dim);
  // Made before every pass of the network: the angles of an axis are few, the tokens are many.
  const std::vector<float> time = AxisTable(grid.frames, split.time, 1.0);
  const std::vector<float> row_axis = AxisTable(grid.rows, split.row, 1.0);
  const std::vector<float> column_axis = AxisTable(grid.columns, split.column, 1.0);
  std::vector<float> table;
  table.reserve(static_cast<std::size_t>(grid.tokens() * head_dim));
  const auto append = [&table](const std::vector<float>& axis, std::int64_t index, std::int64_t pairs) {
    const auto begin = axis.begin() + index * pairs * 2;
    table.insert(table.end(), begin, begin + pairs * 2);
  };
  for (std::int64_t frame = 0; frame < grid.frames; ++frame) {
    for (std::int64_t row = 0; row < grid.rows; ++row) {
      for (std::int64_t column = 0; column < grid.columns; ++column) {
        append(time, frame, split.time);
        append(row_axis, row, split.row);
        append(column_axis, column, split.column);
      }
    }
  }
  return table;
}

std::vector<float> AudioRopeTable(std::int64_t tokens, std::int64_t head_dim, double scaling) {
  return AxisTable(tokens, SplitPairs(head_dim).time, scaling);
}

}  // namespace ovi
