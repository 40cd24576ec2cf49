// The parameter-free skip connections of the video autoencoder, added to the main branch in place. f32 or
// bf16.
//
// UpShortcut ("DupUp"): with rep = Co*ft*4 / Ci,
//   x[t*ft + a - drop, 2y + b, 2x + c, o] += in[t, y, x, floor((o*ft*4 + a*4 + b*2 + c) / rep)]
//   in (T, H, W, Ci); x (T*ft - drop, 2H, 2W, Co). drop = ft - 1 on the chunk that holds the first frame,
//   else 0.
//
// DownShortcut ("AvgDown"): values in the order (ci, a, b, c) of a ft x fs x fs block, averaged in
// consecutive groups of
//   Ci*ft*fs*fs / Co, give channel o. in (T, H, W, Ci); x (ceil(T/ft), H/fs, W/fs, Co). Missing frames are
//   zeros in FRONT.
#pragma once

#include "absl/status/status.h"
#include "kernels/tensor.h"

namespace ovi {

struct UpShortcut {
  Tensor in;
  std::int64_t time_factor = 1;
  std::int64_t drop = 0;
  Tensor x;
};

struct DownShortcut {
  Tensor in;
  std::int64_t time_factor = 1;
  std::int64_t space_factor = 1;
  Tensor x;
};

absl::Status Validate(const UpShortcut& op);
absl::Status Validate(const DownShortcut& op);

}  // namespace ovi
