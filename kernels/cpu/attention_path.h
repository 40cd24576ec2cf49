// The implementations behind RunAttention, for its tests and benchmark: one a kind of multiply unit.
//
// All are flash attention: a task is some rows of one head; it walks the keys in blocks of fixed size, keeps
// a reference m (the running maximum, or for AMX a bound on it), the sum l and the unnormalised output of
// every row, and rescales them when m grows. Scores are taken to base 2, t = score * log2(e) - m, so that exp
// is one fused multiply-add and a polynomial. In bf16, p = exp(score - m) is rounded to bf16 for the product
// with v while l sums the unrounded p, as flash-attention 2 does. With round_scores a first sweep finds m and
// l, and the second rounds p / l.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "kernels/attention.h"

namespace ovi::cpu {

enum class AttentionPath { kBase, kAvx2, kAvx512, kAvx512Bf16, kAmx };

inline constexpr std::array kAttentionPaths{AttentionPath::kBase, AttentionPath::kAvx2,
                                            AttentionPath::kAvx512, AttentionPath::kAvx512Bf16,
                                            AttentionPath::kAmx};

std::string_view AttentionPathName(AttentionPath path);
// Whether this processor, capped by OVI_CPU_ISA, has the unit and the unit multiplies `dtype`.
bool CanRunAttention(AttentionPath path, DType dtype);
AttentionPath ChooseAttentionPath(const Attention& op);
// `path` is one that CanRunAttention allows: that also asks the kernel for the tiles of AMX.
absl::Status RunAttentionOn(AttentionPath path, const Attention& op);

// A task. Writes rows [begin, end) of columns [head*D, (head+1)*D) of out, and reads no other part of q.
struct AttentionRows {
  std::int64_t head = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// False when the host gives no scratch memory.
bool AttendBase(const Attention& op, const AttentionRows& rows);
bool AttendAvx2(const Attention& op, const AttentionRows& rows);
bool AttendAvx512(const Attention& op, const AttentionRows& rows);
bool AttendAvx512Bf16(const Attention& op, const AttentionRows& rows);
bool AttendAmx(const Attention& op, const AttentionRows& rows);

// The most rows worth one task: packing a block of keys costs about as much as attending 30 rows to it, and
// the outputs of the rows must stay in the second-level cache.
constexpr std::int64_t AttentionRowsMax(std::int64_t head_dim) {
  const std::int64_t rows = 131072 / head_dim;
  return rows < 96 ? 96 : rows > 1024 ? 1024 : rows;
}

// Keys a block: what the second-level cache holds, packed. A function of the head dim alone, since it decides
// where a row's maximum is raised and so the row's last bits.
constexpr std::int64_t AttentionKeyBlock(std::int64_t head_dim) {
  const std::int64_t keys = 32768 / head_dim / 64 * 64;
  return keys < 64 ? 64 : keys > 256 ? 256 : keys;
}

// This thread's scratch, 64-byte aligned, valid until its next call; null when there is no memory.
std::byte* AttentionScratch(std::int64_t bytes);

// Hands out pieces of a scratch; with a null base it only adds up their bytes.
class ScratchPieces {
 public:
  explicit ScratchPieces(std::byte* base) : base_(base) {}
  template <typename T>
  T* Take(std::int64_t count) {
    T* piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::int64_t bytes_ = 0;
};

}  // namespace ovi::cpu
