// Speed of the CPU backend's Gemm on one core against the peak of the same core, measured between the runs.
//
//   taskset -c 1 gemm_bench [--m=256,1125] [--rounds=5] [--type=F32|BF16|F8_E4M3|I4|I8]
//   [--impl=onednn|amx|vnni|widened|portable]
//
// OVI_CPU_ISA caps what the kernels may use. Each figure is the best of `rounds`; its peak, the best of the
// peaks measured around them. The peak is that of the unit the kernel runs on. peak_after is the median of
// peaks measured within 0.1 ms after a round: a core that lowered its clock for the kernel has hardly raised
// it yet, so ratio_after is to what the unit could do at the kernel's own clock. of_bf16 is a narrower
// matrix's rate to that of a bf16 one, the two run in turn; I4 has a tail of 32, whose products are not
// counted. Shapes are those of the DiT's layers.
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "tests/bench/peak.h"
#include "tests/kernels/test_block.h"

namespace ovi {
namespace {

using bench::Peak;
using cpu::GemmKernel;

// What the matrix is kept as.
struct Kind {
  const char* name;
  DType type;
  std::optional<FourBitFormat> four_bit = std::nullopt;

  bool is_int8() const { return type == DType::kI8; }
  // Whether it is held against the bf16 GEMM.
  bool is_narrow() const { return IsQuantised(type) || four_bit; }
};
constexpr Kind kKinds[] = {{"F32", DType::kF32},
                           {"BF16", DType::kBF16},
                           {"F8_E4M3", DType::kF8E4M3},
                           {"I4", DType::kBF16, FourBitFormat{.tail_rank = 32}},
                           {"I8", DType::kI8}};
constexpr const Kind& kBF16Kind = kKinds[1];

struct Options {
  std::vector<std::int64_t> rows = {256, 1125};  // 1,125: the video tokens of block_bench
  int rounds = 5;
  std::string type;
  std::string impl;  // instead of the kernel the backend would choose
};

struct Layer {
  std::int64_t n, k;
  Activation activation;
  bool gated;
};
constexpr Layer kLayers[] = {{3072, 3072, Activation::kNone, false},
                             {14'336, 3072, Activation::kNone, false},
                             {3072, 14'336, Activation::kNone, false},
                             {3072, 3072, Activation::kNone, true},
                             {14'336, 3072, Activation::kGeluTanh, false}};

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

void PinToThisCore() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(sched_getcpu(), &cores);
  sched_setaffinity(0, sizeof(cores), &cores);
}

// The peak of the unit that this dtype is computed on, here: what the kernel could reach at best. The header
// of the output has all units of the core, for it may have a faster one (Xeons run VDPBF16PS at half the rate
// of f32).
Peak ExecutingPeak(DType type, GemmKernel kernel, double milliseconds) {
  const cpu::Features& features = cpu::CpuFeatures();
  const bool tiles = features.amx && kernel != GemmKernel::kWidened && kernel != GemmKernel::kVnni;
  const char* unit = bench::PeakUnits().front();  // the widest f32
  if ((type == DType::kBF16 || type == DType::kF8E4M3) && features.avx512_bf16)
    unit = tiles ? "amx_bf16" : "avx512_bf16";
  if (type == DType::kI8 && features.avx512_vnni) unit = tiles ? "amx_i8" : "avx512_vnni_i8";
  return bench::MeasurePeak(unit, milliseconds);
}

// Filled with numbers from a uniform distribution, so that no unit gets away with zeros.
absl::StatusOr<Tensor> RandomTensor(Arena& arena, DType dtype, const Shape& shape, float scale) {
  absl::StatusOr<Tensor> tensor = arena.Allocate(dtype, shape, "operand");
  if (!tensor.ok()) return tensor;
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  for (std::int64_t i = 0; i < tensor->elements(); ++i) {
    const float x = uniform(random);
    if (dtype == DType::kF32) reinterpret_cast<float*>(tensor->data)[i] = x;
    if (dtype == DType::kBF16) reinterpret_cast<BFloat16*>(tensor->data)[i] = ToBFloat16(x);
    if (dtype == DType::kI8) reinterpret_cast<std::int8_t*>(tensor->data)[i] = static_cast<std::int8_t>(x);
  }
  return tensor;
}

struct Operands {
  Arena arena;
  GemmWeight weight;
  Gemm op;
  GemmKernel kernel;
};

// Any bytes are a matrix of 4 bits; its speed does not depend on them.
absl::Status PackFourBit(Arena& arena, const GemmWeight& weight, GemmKernel kernel) {
  OVI_ASSIGN_OR_RETURN(const Tensor q,
                       RandomTensor(arena, DType::kI8, {weight.n, FourBitRowBytes(weight.k)}, 127.0f));
  OVI_ASSIGN_OR_RETURN(const Tensor scale,
                       RandomTensor(arena, DType::kBF16, {weight.n, FourBitGroups(weight.k)}, 0.01f));
  OVI_ASSIGN_OR_RETURN(const Tensor up,
                       RandomTensor(arena, DType::kBF16, {weight.n, weight.four_bit->tail_rank}, 0.1f));
  return cpu::PackGemmWeight(weight,
                             FourBitRows{{q.data, DType::kU8, q.shape},
                                         {scale.data, scale.dtype, scale.shape},
                                         {up.data, up.dtype, up.shape}},
                             kernel);
}

absl::StatusOr<std::unique_ptr<Operands>> MakeOperands(const Kind& kind, GemmKernel kernel, std::int64_t m,
                                                       const Layer& layer) {
  const DType type = kind.type;
  const auto& [n, k, activation, gated] = layer;
  const DType a_type = type == DType::kF8E4M3 ? DType::kBF16 : type;
  const DType out_type = type == DType::kF32 ? DType::kF32 : DType::kBF16;
  auto operands = std::make_unique<Operands>(
      test::MakeTestArena((n + 64) * (k + 64) * (ElementBytes(type) + 4) + m * (n + k + 64) * 4 + (1 << 20)));
  Arena& arena = operands->arena;
  Gemm& op = operands->op;
  operands->kernel = kernel;
  if (kind.four_bit) {
    OVI_ASSIGN_OR_RETURN(operands->weight, cpu::AllocateGemmWeight(arena, *kind.four_bit, n, k, "w", kernel));
    OVI_ASSIGN_OR_RETURN(op.a_tail, RandomTensor(arena, DType::kBF16, {m, kind.four_bit->tail_rank}, 1.0f));
  } else {
    OVI_ASSIGN_OR_RETURN(operands->weight, cpu::AllocateGemmWeight(arena, type, n, k, "w", kernel));
  }
  OVI_ASSIGN_OR_RETURN(const Tensor row, RandomTensor(arena, DType::kF32, {n}, 1.0f));
  OVI_ASSIGN_OR_RETURN(op.a, RandomTensor(arena, a_type, {m, k}, kind.is_int8() ? 127.0f : 1.0f));
  if (kind.is_int8()) {
    OVI_ASSIGN_OR_RETURN(op.a_scale, RandomTensor(arena, DType::kF32, {m}, 0.1f));
  }
  OVI_ASSIGN_OR_RETURN(op.out, RandomTensor(arena, out_type, {m, n}, 1.0f));
  op.weight = &operands->weight;
  op.bias = row;
  op.activation = activation;
  if (gated) {
    op.gate = row;
    op.residual = op.out;
  }
  if (kind.four_bit) {
    OVI_RETURN_IF_ERROR(PackFourBit(arena, operands->weight, kernel));
  } else {
    OVI_ASSIGN_OR_RETURN(const Tensor w, RandomTensor(arena, DType::kF32, {n, k}, 0.1f));
    OVI_RETURN_IF_ERROR(cpu::PackGemmWeight(operands->weight, HostTensor{w.data, w.dtype, w.shape}, kernel));
  }
  OVI_RETURN_IF_ERROR(Validate(op));
  return operands;
}

struct Timing {
  double gflops = 0;
  Peak peak;
  double peak_after = 0;
  double bf16_gflops = 0;  // of the bf16 GEMM, run in turn with a narrower one
};

absl::StatusOr<double> Seconds(const Operands& operands) {
  const double start = bench::CpuSeconds();
  OVI_RETURN_IF_ERROR(cpu::RunGemm(operands.op, operands.kernel));
  return bench::CpuSeconds() - start;
}

absl::StatusOr<Timing> Measure(const Kind& kind, GemmKernel kernel, std::int64_t m, const Layer& layer,
                               int rounds) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Operands> operands, MakeOperands(kind, kernel, m, layer));
  std::unique_ptr<Operands> bf16;
  if (kind.is_narrow()) {
    const GemmKernel bf16_kernel = cpu::ChooseGemmKernel(DType::kBF16, cpu::CpuFeatures());
    OVI_ASSIGN_OR_RETURN(bf16, MakeOperands(kBF16Kind, bf16_kernel, m, layer));
  }
  const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(layer.n * layer.k);
  Timing timing;
  std::vector<double> peaks_after;
  for (int round = 0; round <= rounds; ++round) {
    const Peak here = ExecutingPeak(kind.type, kernel, 1.0);
    if (here.gflops > timing.peak.gflops) timing.peak = here;
    OVI_ASSIGN_OR_RETURN(const double seconds, Seconds(*operands));
    peaks_after.push_back(ExecutingPeak(kind.type, kernel, 0.1).gflops);
    double bf16_seconds = 0;
    if (bf16 != nullptr) {
      OVI_ASSIGN_OR_RETURN(bf16_seconds, Seconds(*bf16));
    }
    if (round == 0) continue;  // which warms caches and oneDNN up
    timing.gflops = std::max(timing.gflops, operations / seconds * 1e-9);
    if (bf16 != nullptr) timing.bf16_gflops = std::max(timing.bf16_gflops, operations / bf16_seconds * 1e-9);
  }
  std::sort(peaks_after.begin(), peaks_after.end());
  timing.peak_after = peaks_after[peaks_after.size() / 2];
  return timing;
}

std::string ResultLine(const Kind& kind, GemmKernel kernel, std::int64_t m, const Layer& layer, int rounds) {
  const absl::StatusOr<Timing> timing = Measure(kind, kernel, m, layer, rounds);
  if (!timing.ok()) return absl::StrCat("{\"error\": \"", std::string(timing.status().message()), "\"}");
  const char* tail = layer.gated                                 ? "gate+residual"
                     : layer.activation == Activation::kGeluTanh ? "gelu"
                                                                 : "bias";
  const std::string of_bf16 =
      timing->bf16_gflops == 0 ? ""
                               : absl::StrFormat(", \"bf16_gflops\": %.1f, \"of_bf16\": %.3f",
                                                 timing->bf16_gflops, timing->gflops / timing->bf16_gflops);
  return absl::StrFormat(
      "{\"dtype\": \"%s\", \"m\": %d, \"n\": %d, \"k\": %d, \"epilogue\": \"%s\", \"impl\": \"%s\", "
      "\"gflops\": %.1f, \"peak\": %.1f, \"peak_unit\": \"%s\", \"ratio\": %.3f, \"peak_after\": %.1f, "
      "\"ratio_after\": %.3f%s}",
      kind.name, m, layer.n, layer.k, tail, std::string(cpu::GemmKernelName(kernel)), timing->gflops,
      timing->peak.gflops, timing->peak.unit, timing->gflops / timing->peak.gflops, timing->peak_after,
      timing->gflops / timing->peak_after, of_bf16);
}

bool ParseOptions(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--m=", 0) == 0) {
      options.rows.clear();
      for (const auto& part : absl::StrSplit(argument.substr(4), ',')) {
        const std::int64_t rows = std::atoll(std::string(part).c_str());
        if (rows <= 0) return false;
        options.rows.push_back(rows);
      }
    } else if (argument.rfind("--rounds=", 0) == 0) {
      options.rounds = std::atoi(argument.c_str() + 9);
      if (options.rounds <= 0) return false;
    } else if (argument.rfind("--type=", 0) == 0) {
      options.type = argument.substr(7);
    } else if (argument.rfind("--impl=", 0) == 0) {
      options.impl = argument.substr(7);
    } else {
      return false;
    }
  }
  return true;
}

GemmKernel KernelFor(const Kind& kind, const Options& options) {
  for (const GemmKernel kernel : {GemmKernel::kOneDnn, GemmKernel::kAmx, GemmKernel::kVnni,
                                  GemmKernel::kWidened, GemmKernel::kPortable}) {
    if (options.impl == cpu::GemmKernelName(kernel)) return kernel;
  }
  if (kind.four_bit) return cpu::ChooseFourBitGemmKernel(cpu::CpuFeatures());
  return cpu::ChooseGemmKernel(kind.type, cpu::CpuFeatures());
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: gemm_bench [--m=256,1125] [--rounds=5] [--type=F32|BF16|F8_E4M3|I4|I8] "
                 "[--impl=onednn|amx|vnni|widened|portable]\n");
    return 2;
  }
#ifdef _OPENMP
  omp_set_num_threads(1);
#endif
  PinToThisCore();
  const char* isa = std::getenv("OVI_CPU_ISA");
  std::printf("{\n  \"cpu\": \"%s\",\n  \"isa\": \"%s\",\n  \"threads\": 1,\n  \"peaks\": {",
              CpuModel().c_str(), isa == nullptr ? "all" : isa);
  const char* comma = "";
  for (const char* unit : bench::PeakUnits()) {
    std::printf("%s\"%s\": %.1f", comma, unit, bench::MeasurePeak(unit, 20).gflops);
    comma = ", ";
  }
  std::printf("},\n  \"results\": [");
  comma = "\n    ";
  for (const Kind& kind : kKinds) {
    if (!options.type.empty() && options.type != kind.name) continue;
    for (const std::int64_t m : options.rows) {
      for (const Layer& layer : kLayers) {
        const GemmKernel kernel = KernelFor(kind, options);
        std::printf("%s%s", comma, ResultLine(kind, kernel, m, layer, options.rounds).c_str());
        std::fflush(stdout);
        comma = ",\n    ";
      }
    }
  }
  std::printf("\n  ]\n}\n");
  return 0;
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  return ovi::Main(argc, argv);
}
