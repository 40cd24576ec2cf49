// Attention on one core: rate of every implementation, and its share of what the core's multiply unit
// reaches. Runs the paths that OVI_CPU_ISA allows, on the core it was started on. One JSON object a line on
// stdout: An argument names the one path to run.
// {"bench":"attention","impl":...,"chosen":...,"dtype":...,"tokens":...,"keys":...,"heads":...,"head_dim":...,
//  "gflops":...,"peak_unit":...,"peak_gflops":...,"peak_share":...}
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/attention.h"
#include "kernels/cpu/attention_path.h"
#include "tests/bench/peak.h"

namespace ovi {
namespace {

using cpu::AttentionPath;

struct Load {
  DType dtype;
  std::int64_t tokens, keys, heads, head_dim;
};

// The shapes of an Ovi block (video self-attention, text, audio to video) and of the autoencoders.
constexpr Load kLoads[] = {
    {DType::kBF16, 1024, 1024, 8, 128},   {DType::kBF16, 4096, 4096, 4, 128},
    {DType::kBF16, 16384, 16384, 1, 128}, {DType::kBF16, 4096, 512, 8, 128},
    {DType::kBF16, 157, 4096, 24, 128},   {DType::kBF16, 512, 512, 16, 64},
    {DType::kF32, 1024, 1024, 8, 128},    {DType::kF32, 2025, 2025, 1, 1024},
    {DType::kF32, 157, 157, 1, 1536},
};

void PinToThisCore() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(sched_getcpu()), &cores);
  sched_setaffinity(0, sizeof cores, &cores);
#ifdef _OPENMP
  omp_set_num_threads(1);
#endif
}

const char* PeakUnit(AttentionPath path) {
  switch (path) {
    case AttentionPath::kBase:
      return "";
    case AttentionPath::kAvx2:
      return "avx2_f32";
    case AttentionPath::kAvx512:
      return "avx512_f32";
    case AttentionPath::kAvx512Bf16:
      return "avx512_bf16";
    case AttentionPath::kAmx:
      return "amx_bf16";
  }
  return "";
}

std::vector<std::byte> Noise(std::int64_t elements, DType dtype) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(elements * ElementBytes(dtype)));
  std::uint32_t random = 1;
  for (std::int64_t i = 0; i < elements; ++i) {
    random = random * 1664525u + 1013904223u;
    const float x = static_cast<float>(random >> 8) * 0x1p-22f - 2.0f;  // in [-2, 2)
    if (dtype == DType::kF32) {
      reinterpret_cast<float*>(bytes.data())[i] = x;
    } else {
      reinterpret_cast<BFloat16*>(bytes.data())[i] = ToBFloat16(x);
    }
  }
  return bytes;
}

void Measure(AttentionPath path, const Load& load) {
  const std::int64_t width = load.heads * load.head_dim;
  auto q = Noise(load.tokens * width, load.dtype);
  auto k = Noise(load.keys * width, load.dtype);
  auto v = Noise(load.keys * width, load.dtype);
  auto out = Noise(load.tokens * width, load.dtype);
  const Attention op{.q = {q.data(), load.dtype, {load.tokens, width}},
                     .k = {k.data(), load.dtype, {load.keys, width}},
                     .v = {v.data(), load.dtype, {load.keys, width}},
                     .heads = load.heads,
                     .keys = load.keys,
                     .scale = 0.0883883f,
                     .out = {out.data(), load.dtype, {load.tokens, width}}};
  const double gflop = 4e-9 * static_cast<double>(load.tokens * load.keys * width);
  double gflops = 0.0;
  double peak = 0.0;
  // The peak is measured between the runs: clocks change, and neighbours come and go.
  const double end = bench::CpuSeconds() + 0.7;
  int runs = 0;
  do {
    const double start = bench::CpuSeconds();
    if (!cpu::RunAttentionOn(path, op).ok()) return;
    gflops = std::max(gflops, gflop / (bench::CpuSeconds() - start));
    peak = std::max(peak, bench::MeasurePeak(PeakUnit(path), 1.0).gflops);
  } while (++runs < 3 || bench::CpuSeconds() < end);
  const bool chosen = cpu::ChooseAttentionPath(op) == path;
  std::printf(
      "{\"bench\":\"attention\",\"impl\":\"%s\",\"chosen\":%s,\"dtype\":\"%s\",\"tokens\":%lld,\"keys\":%lld,"
      "\"heads\":%lld,\"head_dim\":%lld,\"gflops\":%.0f",
      std::string(cpu::AttentionPathName(path)).c_str(), chosen ? "true" : "false",
      std::string(DTypeName(load.dtype)).c_str(), static_cast<long long>(load.tokens),
      static_cast<long long>(load.keys), static_cast<long long>(load.heads),
      static_cast<long long>(load.head_dim), gflops);
  if (peak > 0.0) {
    std::printf(",\"peak_unit\":\"%s\",\"peak_gflops\":%.0f,\"peak_share\":%.3f", PeakUnit(path), peak,
                gflops / peak);
  }
  std::printf("}\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  ovi::PinToThisCore();
  for (const ovi::cpu::AttentionPath path : ovi::cpu::kAttentionPaths) {
    for (const ovi::Load& load : ovi::kLoads) {
      if (argc > 1 && ovi::cpu::AttentionPathName(path) != argv[1]) continue;
      if (ovi::cpu::CanRunAttention(path, load.dtype)) ovi::Measure(path, load);
    }
  }
}
