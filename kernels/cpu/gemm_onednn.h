// Matrix multiplication by oneDNN: f32 and bf16 weights in the blocked layout its own kernels ask for.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

// Bytes of a packed (n, k) weight of dtype F32 or BF16.
absl::StatusOr<std::int64_t> OneDnnGemmBytes(DType dtype, std::int64_t n, std::int64_t k);

// Fills dst.storage, converting a block of rows at a time.
absl::Status PackOneDnnWeight(const GemmWeight& dst, const HostTensor& src);

absl::Status RunOneDnnGemm(const Gemm& op);

}  // namespace ovi::cpu
