// What one core of this processor reaches at best, by execution unit: loops that touch nothing but registers.
// Call on the core, and close in time to the work, that the figure is compared with: clocks and neighbours
// vary.
#pragma once

#include <string_view>
#include <vector>

namespace ovi::bench {

struct Peak {
  double gflops = 0;  // 1e9 operations a second; a multiply-add counts as two
  const char* unit = "";
};

// The units this processor has: "avx512_f32", "avx512_bf16", "avx512_vnni_i8", "amx_bf16" and "amx_i8"
// (registers only), "amx_bf16_fed" and "amx_i8_fed" (operands loaded from L1 for every step, the most a
// matrix kernel can see); "avx2_f32" where there is no AVX-512, "scalar_f32" where there is neither. AMX
// counts as OVI_CPU_ISA says, the rest as the processor says.
std::vector<const char*> PeakUnits();

// Runs `unit` for about `milliseconds` and returns the best rate of its slices. 0 for a unit PeakUnits()
// lacks.
Peak MeasurePeak(std::string_view unit, double milliseconds);

// CPU time of this thread: the machine is shared, and waiting for a turn is not the code's doing.
double CpuSeconds();

}  // namespace ovi::bench
