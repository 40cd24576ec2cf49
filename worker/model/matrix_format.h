// How the matrices of the transformer's blocks are kept.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/dtype.h"

namespace ovi {

struct MatrixFormat {
  DType dtype = DType::kF32;  // bf16 where they are compressed
  // Above 0, they are compressed (worker/weights/compressed_matrix.h): 4 bits and a pair of the RankOf this.
  std::int64_t low_rank = 0;

  bool operator==(const MatrixFormat&) const = default;
};

constexpr MatrixFormat LowRankFormat(std::int64_t rank) {
  return {.dtype = DType::kBF16, .low_rank = rank};
}

// "BF16", "low rank 128".
inline std::string ToString(MatrixFormat format) {
  return format.low_rank > 0 ? absl::StrCat("low rank ", format.low_rank)
                             : std::string(DTypeName(format.dtype));
}

}  // namespace ovi
