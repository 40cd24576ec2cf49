// Some rows of a against one block of one panel of W on AMX tiles, and the packed rows it reads
// (gemm_amx.cc, gemm_amx_narrow.cc). For processors with AMX (features.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace ovi::cpu {

inline constexpr std::int64_t kAmxStepBytes = 64;  // of K, one tile row
inline constexpr std::int64_t kAmxPairRows = 32;   // two tiles of rows of a, one above the other
inline constexpr std::int64_t kAmxPairStepBytes = kAmxPairRows * kAmxStepBytes;
inline constexpr std::int64_t kAmxPanelRows = 32;  // two tiles of rows of W side by side
inline constexpr std::int64_t kAmxPanelStepBytes = kAmxPanelRows * kAmxStepBytes;
inline constexpr std::int64_t kAmxBlockSteps = 16;  // 32 KiB of W: L1 with room for passing rows
// Pairs that share one pass over W: a block of their rows, 256 KiB, stays in L2 for several panels.
inline constexpr std::int64_t kAmxPassPairs = 8;

// Copies `rows` (1 to 32) rows of `bytes` bytes, `stride` apart, to a pair of `steps` steps; zeros elsewhere.
void PackAmxPair(const std::byte* src, std::int64_t stride, std::int64_t rows, std::int64_t bytes,
                 std::int64_t steps, std::byte* dst);

enum class AmxSums { kI32, kF32 };  // of int8 and of bf16

struct AmxPass {
  AmxSums type = AmxSums::kF32;
  bool first_block = false;      // the sums begin at zero
  const std::byte* a = nullptr;  // pair after pair, each `steps` steps of two tiles
  const std::byte* w = nullptr;  // `steps` steps of two tiles
  std::byte* sums = nullptr;     // the top left corner of the panel's sums
  std::int64_t sums_stride = 0;  // bytes
  std::int64_t steps = 0;
  std::int64_t pairs = 0;
  // Fetched into L2 meanwhile, so many cache lines a step but the first of each pair: of W and of rows of a
  // that come next.
  const std::byte* next_w = nullptr;
  int next_w_lines = 0;
  const std::byte* next_a = nullptr;
  int next_a_lines = 0;
};

// The thread holds an AmxTiles.
void RunAmxPass(const AmxPass& pass);

}  // namespace ovi::cpu
