#include "worker/model/rope_table.h"

#include <cmath>

namespace ovi {
namespace {

void Append(double angle, std::vector<float>& table) {
  table.push_back(static_cast<float>(std::cos(angle)));
  table.push_back(static_cast<float>(std::sin(angle)));
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
  const std::vector<double> time = RopeFrequencies(split.time);
  const std::vector<double> space = RopeFrequencies(split.row);
  std::vector<float> table;
  table.reserve(static_cast<std::size_t>(grid.tokens() * head_dim));
  for (std::int64_t frame = 0; frame < grid.frames; ++frame) {
    for (std::int64_t row = 0; row < grid.rows; ++row) {
      for (std::int64_t column = 0; column < grid.columns; ++column) {
        for (const double frequency : time) Append(static_cast<double>(frame) * frequency, table);
        for (const double frequency : space) Append(static_cast<double>(row) * frequency, table);
        for (const double frequency : space) Append(static_cast<double>(column) * frequency, table);
      }
    }
  }
  return table;
}

std::vector<float> AudioRopeTable(std::int64_t tokens, std::int64_t head_dim, double scaling) {
  const std::vector<double> time = RopeFrequencies(SplitPairs(head_dim).time);
  std::vector<float> table;
  table.reserve(static_cast<std::size_t>(tokens) * time.size() * 2);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (const double frequency : time) Append(static_cast<double>(token) * (scaling * frequency), table);
  }
  return table;
}

}  // namespace ovi
