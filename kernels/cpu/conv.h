// Convolutions of the CPU backend, on oneDNN.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/arena.h"
#include "kernels/conv.h"
#include "kernels/conv_transpose.h"

namespace ovi::cpu {

absl::StatusOr<ConvWeight> AllocateConvWeight(Arena& arena, DType dtype, std::int64_t out_channels,
                                              std::int64_t in_channels, const Extent3& kernel,
                                              std::string_view what);
absl::StatusOr<ConvTransposeWeight> AllocateConvTransposeWeight(Arena& arena, DType dtype,
                                                                std::int64_t in_channels,
                                                                std::int64_t out_channels,
                                                                std::int64_t kernel, std::string_view what);
absl::Status PackConvWeight(const ConvWeight& dst, const HostTensor& src);
absl::Status PackConvTransposeWeight(const ConvTransposeWeight& dst, const HostTensor& src);
absl::Status RunConv(const Conv& op);
absl::Status RunConvTranspose(const ConvTranspose& op);

}  // namespace ovi::cpu
