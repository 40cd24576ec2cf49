// Matrix multiplication by oneDNN: f32, bf16 and int8 weights in the blocked layout its own kernels ask for.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Bytes of a packed (n, k) weight of dtype F32, BF16 or I8.
absl::StatusOr<std::int64_t> OneDnnGemmBytes(DType dtype, std::int64_t n, std::int64_t k);

// Fills dst.storage. F32 and BF16 are converted a block of rows at a time; I8 takes dst.scale and one byte an
// element of host memory while it runs, since oneDNN sums whole columns for its own use.
absl::Status PackOneDnnWeight(const GemmWeight& dst, const HostTensor& src);

absl::Status RunOneDnnGemm(const Gemm& op);

}  // namespace ovi::cpu
