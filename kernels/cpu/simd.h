// RunVectorised(body) runs `body`, a callable without arguments, compiled for the widest vectors of this
// processor.
//
// Everything body calls is inlined into one copy for each instruction set, so its loops vectorise with
// AVX-512 or AVX2 though the program is built for plain x86-64. Keep bodies to numeric loops; threads go
// outside (parallel.h). OVI_CPU_ISA=generic keeps AVX2, where the processor has it.
#pragma once

#include "kernels/cpu/features.h"

namespace ovi::cpu {

#if defined(__x86_64__)
template <typename Body>
[[gnu::flatten, gnu::noinline,
  gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")]] void
RunForAvx512(const Body& body) {
  body();
}

template <typename Body>
[[gnu::flatten, gnu::noinline, gnu::target("avx2,fma")]] void RunForAvx2(const Body& body) {
  body();
}

template <typename Body>
void RunVectorised(const Body& body) {
  if (CpuFeatures().avx512) return RunForAvx512(body);
  if (CpuFeatures().avx2) return RunForAvx2(body);
  body();
}
#else
template <typename Body>
void RunVectorised(const Body& body) {
  body();
}
#endif

}  // namespace ovi::cpu
