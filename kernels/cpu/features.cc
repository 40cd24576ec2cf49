#include "kernels/cpu/features.h"

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ovi::cpu {
namespace {

#if defined(__x86_64__)
// Linux hands out the 8 KiB tile state only to processes that ask (Documentation/arch/x86/xstate.rst).
bool RequestTileState() {
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

Features Detect() {
  Features features;
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16");
  features.avx512_vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kAmxBits =
      (1u << 22) | (1u << 24) | (1u << 25);  // leaf 7, EDX: amx-bf16, amx-tile, amx-int8
  if (features.avx512_bf16 && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBits) == kAmxBits) {
    features.amx = RequestTileState();
  }
  return features;
}
#else
Features Detect() {
  return {};
}
#endif

Features Capped(Features features) {
  const char* variable = std::getenv("OVI_CPU_ISA");
  const std::string_view cap = variable == nullptr ? "amx" : variable;
  if (cap == "amx") return features;
  features.amx = false;
  if (cap == "avx512_bf16") return features;
  features.avx512_bf16 = false;
  if (cap == "avx512") return features;
  features.avx512_vnni = false;
  features.avx512 = false;
  return features;
}

}  // namespace

const Features& CpuFeatures() {
  static const Features features = Capped(Detect());
  return features;
}

}  // namespace ovi::cpu
