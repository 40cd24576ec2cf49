// Copies a band of columns between matrices of different widths: the heads of some ranks out of all heads,
// and back.
//
//   out[t, out_begin + c] = in[t, in_begin + c]     for c < columns; the rest of out stays as it is
//
// Shapes: in (T, Ci), out (T, Co); any dtype, the same on both sides. No overlap.
// Cost: one read and one write of the band.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct CopyColumns {
  Tensor in;
  std::int64_t in_begin = 0;
  std::int64_t columns = 0;
  Tensor out;
  std::int64_t out_begin = 0;
};

absl::Status Validate(const CopyColumns& op);

}  // namespace ovi
