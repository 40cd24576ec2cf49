// The product an adapter is made of, added to a matrix.
#pragma once

#include <cstdint>
#include <span>

namespace ovi {

// w += factor * up @ down in f32, sums in the order of the rank. w (rows, columns), up (rows, rank), down
// (rank, columns), row-major. On the CPU backend's threads; the result does not depend on their count.
void AddLowRank(std::span<const float> up, std::span<const float> down, float factor, std::int64_t rows,
                std::int64_t columns, std::int64_t rank, std::span<float> w);

// w += factor * diff.
void AddScaled(std::span<const float> diff, float factor, std::span<float> w);

}  // namespace ovi
