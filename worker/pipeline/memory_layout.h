// How a clip takes device memory: what a vram_mode comes to, with the figures that a plan settles.
#pragma once

#include <cstdint>

#include "worker/job/job_spec.h"
#include "worker/model/matrix_format.h"

namespace ovi {

struct MemoryLayout {
  MatrixFormat block_matrices = {DType::kBF16};  // of the transformer, as executed
  // The transformer's weights are on the host, and come as they are used; sharded ones (fsdp) do so anyway,
  // from the other ranks.
  bool streamed = false;
  // Where streamed: for the units that stay on the device and the two buffers (streamed_weights.h).
  std::int64_t weight_bytes_max = 0;
  // Horizontal strips of the picture that are decoded one after the other; on one rank alone.
  int decode_strips = 1;

  bool operator==(const MemoryLayout&) const = default;
};

// More strips than these save little: their edges are decoded twice.
inline constexpr int kDecodeStripsMax = 4;

// The least that a mode takes. That of kAuto is kStandard's, until a plan chooses. With a `low_rank`, its
// matrices are in that form (matrix_format.h), whatever the mode has them in.
constexpr MemoryLayout LeastMemoryOf(VramMode mode, std::int64_t low_rank = 0) {
  MemoryLayout memory;
  switch (mode) {
    case VramMode::kAuto:
    case VramMode::kStandard:
      break;
    case VramMode::kFp8:
      memory = {.block_matrices = {DType::kF8E4M3}};
      break;
    case VramMode::kFp8Offload:
      memory = {.block_matrices = {DType::kF8E4M3}, .streamed = true};
      break;
    case VramMode::kUltraLow:
      memory = {.block_matrices = {DType::kI8}, .streamed = true, .decode_strips = kDecodeStripsMax};
      break;
  }
  if (low_rank > 0) memory.block_matrices = LowRankFormat(low_rank);
  return memory;
}

}  // namespace ovi
