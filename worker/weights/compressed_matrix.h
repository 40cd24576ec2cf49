// A matrix in the low-rank form (compress.h), as it lies in a file or in memory: w ~= up @ down + 4 bits.
//
// In a file, of <module>.weight (N, K):
//   <module>.weight_q4         (N, ceil(K / 2)) U8, <module>.weight_q4_scale (N, ceil(K / 64)) BF16
//   <module>.weight_up         (N, R) BF16
//   <module>.weight_down       (R, K) BF16
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/four_bit.h"
#include "kernels/tensor.h"

namespace ovi {

// What follows the matrix's own name.
inline constexpr std::string_view kResidualEnding = "_q4";
inline constexpr std::string_view kResidualScaleEnding = "_q4_scale";
inline constexpr std::string_view kUpEnding = "_up";
inline constexpr std::string_view kDownEnding = "_down";

// Views, anywhere in memory.
struct CompressedMatrix {
  FourBitRows rows;  // 4 bits and up
  HostTensor down;   // (R, K) bf16

  std::int64_t n() const { return rows.q.shape[0]; }
  std::int64_t k() const { return down.shape[1]; }
  std::int64_t rank() const { return down.shape[0]; }
};

// Ranks are spoken of as those of matrices whose smaller side is this, the real model's smallest.
inline constexpr std::int64_t kRankedSide = 3072;
inline constexpr std::int64_t kDefaultRank = 128;
inline constexpr std::int64_t kRankMax = 1024;

// The rank of a matrix (n, k) where one of kRankedSide has `rank`: as much, or less in proportion to its
// smaller side, but 1 at least. At 128 a side of 128 has 5, which costs mini-ovi as little as 128 costs
// larger matrices (compress.h).
std::int64_t RankOf(std::int64_t rank, std::int64_t n, std::int64_t k);

// (N, K) in f32, as the engine's arithmetic means it.
std::vector<float> Expand(const CompressedMatrix& matrix);
// The 4 bits alone, without the product.
std::vector<float> ExpandResidual(const CompressedMatrix& matrix);

}  // namespace ovi
