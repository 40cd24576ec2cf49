// Rotary angles of the two towers: (cos, sin) of every position's pairs, as rope.h wants them.
#pragma once

#include <cstdint>
#include <vector>

namespace ovi {

struct VideoGrid {
  std::int64_t frames = 0;
  std::int64_t rows = 0;     // of patches
  std::int64_t columns = 0;  // of patches

  std::int64_t tokens() const { return frames * rows * columns; }
};

// Pairs of a head that belong to each axis: (time, row, column), c - 2 floor(c/3) | floor(c/3) | floor(c/3)
// of c = head_dim/2.
struct RopeSplit {
  std::int64_t time = 0;
  std::int64_t row = 0;
  std::int64_t column = 0;
};
RopeSplit SplitPairs(std::int64_t head_dim);

// theta^(-2j/d) for j < pairs, d = 2 * pairs: the angle of pair j at position 1.
std::vector<double> RopeFrequencies(std::int64_t pairs, double theta = 10000.0);

// (tokens, head_dim/2, 2): frame-major tokens, each pair turned by its axis' index. Angles in f64, results in
// f32.
std::vector<float> VideoRopeTable(const VideoGrid& grid, std::int64_t head_dim);

// (tokens, time pairs, 2): only the time pairs turn; positions are multiplied by `scaling`.
std::vector<float> AudioRopeTable(std::int64_t tokens, std::int64_t head_dim, double scaling);

}  // namespace ovi
