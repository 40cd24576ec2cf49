// One fused block pair at real width (dim 3072), bf16, on one core: its rate beside the core's peak, and its
// memory.
//   block_bench [--video-tokens 1125] [--audio-tokens 157] [--rounds 3]
// JSON to stdout. The peak is measured before every round, on the same core, and the best pair of the two is
// reported.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"
#include "tests/bench/options.h"
#include "tests/bench/peak.h"
#include "tests/bench/real_model.h"
#include "worker/model/fusion_block.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/rope_table.h"

namespace ovi::bench {
namespace {

// Model arithmetic of one pair, 2 operations a multiply-add; text keys and values are made once a prompt and
// not counted.
double PairFlops(const TowerConfig& c, double video, double audio) {
  const auto dim = static_cast<double>(c.dim);
  const double linear = 2.0 * (8 * dim * dim + 2 * dim * static_cast<double>(c.ffn_dim)) * (video + audio);
  const double scores = video * video + audio * audio + (video + audio) * kTextRows + 2 * video * audio;
  return linear + 4.0 * dim * scores;
}

std::int64_t ResidentBytes(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    long long kib = 0;
    if (line.rfind(key, 0) == 0 && std::sscanf(line.c_str() + std::strlen(key), ": %lld", &kib) == 1)
      return kib * 1024;
  }
  return 0;
}

// Everything of one tower that a pair needs.
struct Side {
  TowerConfig config;
  BlockParams block;
  std::vector<RowSegment> segments;
  Tensor e0;
  KeyValue text;
  TowerStream stream;
};

absl::StatusOr<Tensor> RandomTensor(const Runtime& runtime, std::int64_t rows, std::int64_t columns) {
  std::mt19937 random(static_cast<std::uint32_t>(rows));
  std::normal_distribution<float> normal;
  std::vector<BFloat16> values(static_cast<std::size_t>(rows * columns));
  for (BFloat16& value : values) value = ToBFloat16(normal(random));
  OVI_ASSIGN_OR_RETURN(const Tensor tensor, runtime.arena.Allocate(DType::kBF16, {rows, columns}, "input"));
  runtime.stream.Upload(tensor, HostTensor{values.data(), DType::kBF16, tensor.shape});
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  return tensor;
}

absl::Status Prepare(const Runtime& runtime, const WeightSource& weights, const std::string& tower,
                     const std::vector<float>& rope, std::int64_t tokens, Side& side) {
  const TowerConfig& c = side.config;
  ParamLoader loader(runtime, weights, Bf16NetworkFormat(PrecisionPolicy::kAsExecuted));
  OVI_ASSIGN_OR_RETURN(side.block, LoadBlock(loader, c, tower, 0));
  side.segments = {{0, tokens}};
  OVI_ASSIGN_OR_RETURN(side.e0, RandomTensor(runtime, 1, 6 * c.dim));
  OVI_ASSIGN_OR_RETURN(const Tensor embedded, RandomTensor(runtime, kTextRows, c.dim));
  OVI_ASSIGN_OR_RETURN(side.text, TextKeyValue(runtime, side.block, c, embedded));
  OVI_ASSIGN_OR_RETURN(const Tensor x, RandomTensor(runtime, tokens, c.dim));
  const std::int64_t pairs = static_cast<std::int64_t>(rope.size()) / tokens / 2;
  side.stream = {.config = &side.config, .x = x, .rope = {}, .keys = tokens};
  OVI_ASSIGN_OR_RETURN(side.stream.rope, runtime.arena.Allocate(DType::kF32, {tokens, pairs, 2}, "rope"));
  runtime.stream.Upload(side.stream.rope, HostTensor{rope.data(), DType::kF32, side.stream.rope.shape});
  return runtime.stream.Sync();
}

struct Options {
  std::int64_t video_tokens = 1125;
  std::int64_t audio_tokens = 157;
  std::int64_t rounds = 3;
};

absl::StatusOr<nlohmann::json> Measure(const Options& options) {
  const FusionConfig config{RealTower(true), RealTower(false)};
  std::vector<TensorSpec> specs;
  for (TensorSpec& spec : FusionTensors(config)) {
    if (spec.name.find(".blocks.") != std::string::npos) specs.push_back(std::move(spec));
  }
  const SyntheticWeights weights(specs);
  const std::int64_t resident_before = ResidentBytes("VmRSS");

  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, backend->AllocateBlock(std::int64_t{4} << 30));
  Arena arena(std::move(block));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, backend->NewStream());
  const Runtime runtime{*backend, *stream, arena};
  Side video{.config = config.video};
  Side audio{.config = config.audio};
  const std::vector<float> video_rope = VideoRopeTable({options.video_tokens, 1, 1}, config.video.head_dim());
  const std::vector<float> audio_rope =
      AudioRopeTable(options.audio_tokens, config.audio.head_dim(), config.audio.temporal_rope_scaling);
  OVI_RETURN_IF_ERROR(Prepare(runtime, weights, "video_model", video_rope, options.video_tokens, video));
  OVI_RETURN_IF_ERROR(Prepare(runtime, weights, "audio_model", audio_rope, options.audio_tokens, audio));
  const std::int64_t arena_weights = arena.bytes_in_use();
  arena.ResetPeak();

  const cpu::Features& features = cpu::CpuFeatures();
  const char* unit = features.amx ? "amx_bf16" : features.avx512_bf16 ? "avx512_bf16" : PeakUnits().front();
  const double flops = PairFlops(config.video, static_cast<double>(options.video_tokens),
                                 static_cast<double>(options.audio_tokens));
  double best_ratio = 0;
  double best_gflops = 0;
  double best_peak = 0;
  for (std::int64_t round = 0; round < options.rounds; ++round) {
    const double peak = MeasurePeak(unit, 100).gflops;
    const double begin = CpuSeconds();
    OVI_RETURN_IF_ERROR(RunBlockPair(runtime,
                                     {video.block, video.segments, video.e0, video.text, video.stream},
                                     {audio.block, audio.segments, audio.e0, audio.text, audio.stream}));
    OVI_RETURN_IF_ERROR(stream->Sync());
    const double gflops = flops / (CpuSeconds() - begin) / 1e9;
    if (gflops / peak > best_ratio) {
      best_ratio = gflops / peak;
      best_gflops = gflops;
      best_peak = peak;
    }
  }
  const std::int64_t resident = ResidentBytes("VmHWM") - resident_before;
  return nlohmann::json{
      {"bench", "block_pair"},
      {"video_tokens", options.video_tokens},
      {"audio_tokens", options.audio_tokens},
      {"text_rows", kTextRows},
      {"gemm_kernel", std::string(cpu::GemmKernelName(cpu::ChooseGemmKernel(DType::kBF16, features)))},
      {"gflop", flops / 1e9},
      {"gflops", best_gflops},
      {"peak_unit", unit},
      {"peak_gflops", best_peak},
      {"ratio", best_ratio},
      {"memory",
       {{"weights_and_inputs_bytes", arena_weights},
        {"activations_bytes", arena.bytes_peak() - arena_weights},
        {"arena_bytes_peak", arena.bytes_peak()},
        {"resident_bytes_peak", resident},
        {"resident_over_arena", static_cast<double>(resident) / static_cast<double>(arena.bytes_peak())}}}};
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseNumbers(argc, argv,
                    {{"--video-tokens", &options.video_tokens},
                     {"--audio-tokens", &options.audio_tokens},
                     {"--rounds", &options.rounds}})) {
    std::fprintf(stderr, "usage: block_bench [--video-tokens N] [--audio-tokens N] [--rounds N]\n");
    return 2;
  }
  PinToCore(cpu::ThreadCount() > 1 ? 1 : 0);  // the first serves most interrupts
  const absl::StatusOr<nlohmann::json> result = Measure(options);
  if (!result.ok()) {
    std::fprintf(stderr, "block_bench: %s\n", result.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", result->dump(2).c_str());
  return 0;
}

}  // namespace
}  // namespace ovi::bench

int main(int argc, char** argv) {
  return ovi::bench::Main(argc, argv);
}
