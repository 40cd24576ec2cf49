// What this processor can do, asked once. OVI_CPU_ISA=generic|avx512|avx512_bf16|amx caps it, for tests and
// comparisons.
#pragma once

namespace ovi::cpu {

struct Features {
  bool avx2 = false;    // and FMA; OVI_CPU_ISA=generic leaves it on
  bool avx512 = false;  // F, BW, DQ, VL (FMA comes with them)
  bool avx512_bf16 =
      false;  // VDPBF16PS. Some processors run it at half the rate of f32 FMA: measure before choosing.
  bool avx512_vnni = false;
  bool amx = false;  // amx-tile, amx-bf16 and amx-int8, and the kernel granted the tile state to this process
};

// Thread-safe; the tile state is requested from the kernel on the first call.
const Features& CpuFeatures();

}  // namespace ovi::cpu
