// A processor with AMX, as far as the rest of this one carries it (amx_emulation.h).
#include "kernels/cpu/features.h"

namespace ovi::cpu {

const Features& CpuFeatures() {
  static const Features features = [] {
    Features detected;
#if defined(__x86_64__)
    __builtin_cpu_init();
    detected.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    detected.avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
    detected.avx512_bf16 = detected.avx512 && __builtin_cpu_supports("avx512bf16");
    detected.amx = detected.avx512_bf16;
#endif
    return detected;
  }();
  return features;
}

}  // namespace ovi::cpu
