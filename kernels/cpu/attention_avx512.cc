// Attention with AVX-512: f32 multiply-add, or VDPBF16PS on pairs of bf16.
#if defined(__x86_64__)
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/attention_path.h"
#include "kernels/cpu/intrinsics.h"
#include "kernels/dtype.h"

namespace ovi::cpu {
namespace {
namespace fma {
#define OVI_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define OVI_LANES 16
#include "kernels/cpu/attention_flash.inc"
#undef OVI_LANES
#undef OVI_TARGET
}  // namespace fma

namespace dot {
#define OVI_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define OVI_LANES 16
#define OVI_HAS_BF16
#include "kernels/cpu/attention_flash.inc"
#undef OVI_HAS_BF16
#undef OVI_LANES
#undef OVI_TARGET
}  // namespace dot
}  // namespace

bool AttendAvx512(const Attention& op, const AttentionRows& rows) {
  return fma::AttendWith<fma::FmaUnit>(op, rows);
}

bool AttendAvx512Bf16(const Attention& op, const AttentionRows& rows) {
  return dot::Attend<dot::PairUnit>(op, rows);
}

}  // namespace ovi::cpu
#endif
