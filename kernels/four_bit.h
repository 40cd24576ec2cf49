// Matrices in 4 bits a value, with a scale for each 64 of them, and perhaps a low-rank tail in bf16.
//
//   W[n][k] = rd(q[n][k] * scale[n][k / 64])     rounded to bf16; q in -8..7
//   y       = a W^T + a_tail up^T                up (N, R): R more columns, kept with the matrix
//
// For weights compressed as W + up down, where a_tail = a down^T. K need not be a multiple of 64: the last
// group of a row is shorter then.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace ovi {

// Values of K that share a scale.
inline constexpr std::int64_t kFourBitGroup = 64;

constexpr std::int64_t FourBitGroups(std::int64_t k) {
  return (k + kFourBitGroup - 1) / kFourBitGroup;
}

// Of the q of a row.
constexpr std::int64_t FourBitRowBytes(std::int64_t k) {
  return (k + 1) / 2;
}

// Value `index` of such a row: two to a byte, the even one in the low bits, two's complement.
constexpr int FourBitValue(const std::uint8_t* row, std::int64_t index) {
  const int bits = row[index / 2] >> (index % 2 * 4) & 0xf;
  return bits < 8 ? bits : bits - 16;
}

struct FourBitFormat {
  std::int64_t tail_rank = 0;  // R; 0: no tail
};

// On the host, read only and anywhere in memory. Rows of q begin at a byte of their own.
struct FourBitRows {
  HostTensor q;      // (N, FourBitRowBytes(K)) u8
  HostTensor scale;  // (N, FourBitGroups(K)) bf16
  HostTensor up;     // (N, R) bf16; without a tail its data is null
};

}  // namespace ovi
