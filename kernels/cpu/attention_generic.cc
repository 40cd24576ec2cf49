// Attention on processors without AVX-512: 8 lanes with AVX2 and FMA, or the 4 lanes that every x86-64 has.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/attention_path.h"
#include "kernels/dtype.h"

namespace ovi::cpu {
namespace {
namespace base {
#define OVI_TARGET
#define OVI_LANES 4
#include "kernels/cpu/attention_flash.inc"
#undef OVI_LANES
#undef OVI_TARGET
}  // namespace base

#if defined(__x86_64__)
namespace avx2 {
#define OVI_TARGET __attribute__((target("avx2,fma")))
#define OVI_LANES 8
#include "kernels/cpu/attention_flash.inc"
#undef OVI_LANES
#undef OVI_TARGET
}  // namespace avx2
#endif
}  // namespace

bool AttendBase(const Attention& op, const AttentionRows& rows) {
  return base::AttendWith<base::FmaUnit>(op, rows);
}

#if defined(__x86_64__)
bool AttendAvx2(const Attention& op, const AttentionRows& rows) {
  return avx2::AttendWith<avx2::FmaUnit>(op, rows);
}
#endif

}  // namespace ovi::cpu
