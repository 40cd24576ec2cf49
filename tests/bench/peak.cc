#include "tests/bench/peak.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/intrinsics.h"

namespace ovi::bench {
namespace {

using Clock = std::chrono::steady_clock;

// A loop of `rounds` rounds returns the operations it did. Its accumulators pass through an empty asm
// statement at the end, so that the compiler must compute them.
using PeakLoop = double (*)(std::int64_t rounds);

struct UnitLoop {
  const char* unit;
  PeakLoop loop;
};

// Twelve chains: latency 4-5 times two ports, with room; sixteen multiply-adds of two operations each.
constexpr int kChains = 12;

double ScalarF32(std::int64_t rounds) {
  float sum[kChains];
  std::fill_n(sum, kChains, 1.0f);
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (float& s : sum) {
      s = s * 0.999f + 0.001f;
      asm volatile("" : "+x"(s));
    }
  }
  return static_cast<double>(rounds) * kChains * 2;
}

#if defined(__x86_64__)

#define OVI_PEAK_CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

// One instruction a chain and round; `step` sees the accumulator as s.
#define OVI_PEAK_LOOP(Register, zero, step, operations)                      \
  Register s0 = zero, s1 = zero, s2 = zero, s3 = zero;                       \
  Register s4 = zero, s5 = zero, s6 = zero, s7 = zero;                       \
  Register s8 = zero, s9 = zero, s10 = zero, s11 = zero;                     \
  for (std::int64_t round = 0; round < rounds; ++round) {                    \
    OVI_PEAK_CHAINS(step)                                                    \
  }                                                                          \
  asm volatile("" ::"v"(s0), "v"(s1), "v"(s2), "v"(s3), "v"(s4), "v"(s5));   \
  asm volatile("" ::"v"(s6), "v"(s7), "v"(s8), "v"(s9), "v"(s10), "v"(s11)); \
  return static_cast<double>(rounds) * kChains * (operations)

// The steps are asm statements: the compiler can neither fold them nor move them out of the loop.
#define OVI_STEP_YMM_FMA(i) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(s##i) : "x"(factor));
#define OVI_STEP_ZMM_FMA(i) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(s##i) : "v"(factor));
#define OVI_STEP_BF16(i) asm volatile("vdpbf16ps %1, %1, %0" : "+v"(s##i) : "v"(factor));
#define OVI_STEP_VNNI(i) asm volatile("vpdpbusd %1, %1, %0" : "+v"(s##i) : "v"(factor));

[[gnu::target("avx2,fma")]] double Avx2F32(std::int64_t rounds) {
  const __m256 factor = _mm256_set1_ps(1e-3f);
  OVI_PEAK_LOOP(__m256, _mm256_setzero_ps(), OVI_STEP_YMM_FMA, 16);
}

[[gnu::target("avx512f")]] double Avx512F32(std::int64_t rounds) {
  const __m512 factor = _mm512_set1_ps(1e-3f);
  OVI_PEAK_LOOP(__m512, _mm512_setzero_ps(), OVI_STEP_ZMM_FMA, 32);
}

[[gnu::target("avx512f")]] double Avx512Bf16(std::int64_t rounds) {
  const __m512i factor = _mm512_set1_epi16(0x3a80);
  OVI_PEAK_LOOP(__m512, _mm512_setzero_ps(), OVI_STEP_BF16, 64);
}

[[gnu::target("avx512f")]] double Avx512VnniI8(std::int64_t rounds) {
  const __m512i factor = _mm512_set1_epi8(1);
  OVI_PEAK_LOOP(__m512i, _mm512_setzero_si512(), OVI_STEP_VNNI, 128);
}

// 16 KiB of numbers between -1 and 1 as bf16 (or of any int8): four tiles a step, eight steps. Zeros would
// flatter the unit: on a Xeon with AMX the same loop runs a third slower on random operands, by power.
struct alignas(64) Operands {
  std::uint16_t values[8 * 2048];
  Operands() {
    std::uint32_t state = 1;
    for (std::uint16_t& value : values) {
      state = state * 1664525u + 1013904223u;
      // Sign and mantissa at random, exponent 2^-1 to 2^-8.
      value = static_cast<std::uint16_t>((state >> 16 & 0x8000u) | (119 + (state >> 28 & 7)) << 7 |
                                         (state >> 8 & 0x7f));
    }
  }
};

// Four accumulator tiles hide the unit's latency. With kFed each step loads its operands from L1, as a matrix
// kernel has to; without, they stay in their registers.
template <bool kInt8, bool kFed>
[[gnu::target("amx-tile,amx-bf16,amx-int8")]] double Amx(std::int64_t rounds) {
  static const Operands operands;
  asm volatile("" ::: "memory");
  const cpu::AmxTiles tiles;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t round = 0; round < rounds; ++round) {
    if (kFed || round == 0) {
      const std::uint16_t* step = operands.values + round % 8 * 2048;
      _tile_loadd(4, step, 64);
      _tile_loadd(5, step + 512, 64);
      _tile_loadd(6, step + 1024, 64);
      _tile_loadd(7, step + 1536, 64);
    }
    if constexpr (kInt8) {
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 4, 7);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  return static_cast<double>(rounds) * 4 * 2 * 16 * 16 * (kInt8 ? 64 : 32);
}

#endif

std::vector<UnitLoop> UnitLoops() {
#if defined(__x86_64__)
  // CpuFeatures() asks the kernel for the tile state; the rest is the processor's own word, which no
  // OVI_CPU_ISA lowers: a capped kernel is compared with what the core could do.
  const bool tiles = cpu::CpuFeatures().amx;
  std::vector<UnitLoop> units;
  if (__builtin_cpu_supports("avx512f")) units.push_back({"avx512_f32", Avx512F32});
  if (__builtin_cpu_supports("avx512bf16")) units.push_back({"avx512_bf16", Avx512Bf16});
  if (__builtin_cpu_supports("avx512vnni")) units.push_back({"avx512_vnni_i8", Avx512VnniI8});
  if (tiles) units.push_back({"amx_bf16", Amx<false, false>});
  if (tiles) units.push_back({"amx_i8", Amx<true, false>});
  if (tiles) units.push_back({"amx_bf16_fed", Amx<false, true>});
  if (tiles) units.push_back({"amx_i8_fed", Amx<true, true>});
  if (units.empty() && __builtin_cpu_supports("fma")) units.push_back({"avx2_f32", Avx2F32});
  if (!units.empty()) return units;
#endif
  return {{"scalar_f32", ScalarF32}};
}

}  // namespace

std::vector<const char*> PeakUnits() {
  std::vector<const char*> names;
  for (const UnitLoop& unit : UnitLoops()) names.push_back(unit.unit);
  return names;
}

Peak MeasurePeak(std::string_view unit, double milliseconds) {
  for (const UnitLoop& candidate : UnitLoops()) {
    if (unit != candidate.unit) continue;
    // Slices of about 0.2 ms: an interrupt spoils one of them, not the figure.
    constexpr std::int64_t kRounds = 20000;
    double best = 0;
    const Clock::time_point end =
        Clock::now() + std::chrono::microseconds(static_cast<int>(milliseconds * 1e3));
    do {
      const Clock::time_point start = Clock::now();
      const double operations = candidate.loop(kRounds);
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best = std::max(best, operations / seconds * 1e-9);
    } while (Clock::now() < end);
    return {best, candidate.unit};
  }
  return {};
}

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace ovi::bench
