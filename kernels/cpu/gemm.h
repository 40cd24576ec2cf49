// Matrix multiplication on the CPU (kernels/gemm.h): weights, and the choice of a kernel.
//
//   weight  processor           kernel
//   f32     any                 oneDNN (gemm_onednn.h): 0.9 of the f32 peak
//   bf16    with AMX            own tiles (gemm_amx.h): Debian's oneDNN 2.6.3 reaches 0.12-0.23 of that peak
//   bf16    with AVX-512        oneDNN: 0.91-0.96 of the VDPBF16PS peak on Zen 5
//   i8      with AMX            own tiles
//   i8      with AVX-512 VNNI   own loops (gemm_vnni.h): oneDNN reaches 0.6 of that peak
//   f8_e4m3 with AMX            own tiles (gemm_amx_narrow.h)
//   f8_e4m3 with AVX-512 BF16   own loops (gemm_widened.h): 0.95-1.0 of oneDNN's bf16 on Zen 4
//   4 bits  as f8_e4m3
//   else                        portable loops (gemm_portable.h): oneDNN's bf16 needs AVX-512, and older
//                               instructions saturate in its int8
//
// A weight's layout follows from its dtype and the processor, so weights never leave the process that packed
// them.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/arena.h"
#include "kernels/gemm.h"

namespace ovi::cpu {

struct Features;

enum class GemmKernel { kOneDnn, kAmx, kVnni, kWidened, kPortable };
GemmKernel ChooseGemmKernel(DType weight_dtype, const Features& features);
GemmKernel ChooseFourBitGemmKernel(const Features& features);
std::string_view GemmKernelName(GemmKernel kernel);

// Room for an (n, k) weight of dtype F32, BF16, F8_E4M3 or I8. Its bytes do not depend on the values.
absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                              std::string_view what);
absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                              std::int64_t k, std::string_view what);

// Converts and packs `src`, an (N, K) tensor of dtype F32, BF16, F16, F8_E4M3 or I8, perhaps with scales.
// bf16 rounds to nearest, ties to even; int8 takes the scale max|w| / 127 of each row, e4m3 max|w| / 448,
// written to dst.scale. Rows that have dst's quantised dtype already are taken as they are, with their
// scales.
absl::Status PackGemmWeight(const GemmWeight& dst, const HostTensor& src);
absl::Status PackGemmWeight(const GemmWeight& dst, const FourBitRows& src);

// `op` is validated. Uses the threads of parallel.h and some host memory a thread, bounded by the layer's
// width.
absl::Status RunGemm(const Gemm& op);

// The same with a kernel of the caller's choice, for tests and measurements: all three take the same one, and
// one that has the dtype: kOneDnn f32 and bf16, kVnni int8, kWidened f8_e4m3 and 4 bits, kAmx and kPortable
// all but f32.
absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, DType dtype, std::int64_t n, std::int64_t k,
                                              std::string_view what, GemmKernel kernel);
absl::StatusOr<GemmWeight> AllocateGemmWeight(Arena& arena, const FourBitFormat& format, std::int64_t n,
                                              std::int64_t k, std::string_view what, GemmKernel kernel);
absl::Status PackGemmWeight(const GemmWeight& dst, const HostTensor& src, GemmKernel kernel);
absl::Status PackGemmWeight(const GemmWeight& dst, const FourBitRows& src, GemmKernel kernel);
absl::Status RunGemm(const Gemm& op, GemmKernel kernel);

}  // namespace ovi::cpu
