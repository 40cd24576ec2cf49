// A step with streamed weights against the same step with resident ones: block pairs of the real width, what
// is outside them resident, on one computing core with another one for the copies.
//   streaming_bench [--video-tokens 1125] [--layers 4] [--rounds 3]
// JSON to stdout, an object a format. The two ways take turns in a round; the ratio is that of the best of
// each.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "tests/bench/options.h"
#include "tests/bench/real_model.h"
#include "tests/model/memory_shelf.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/streamed_weights.h"
#include "worker/model/unit_buffer.h"

namespace ovi::bench {
namespace {

struct Options {
  std::int64_t video_tokens = 1125;
  std::int64_t layers = 4;
  std::int64_t rounds = 3;
};

absl::Status NoCheck() {
  return absl::OkStatus();
}

// One way to keep the weights, with a transformer of its own on it.
class Way {
 public:
  Way(const FusionConfig& config, const LatentShape& shape, std::int64_t arena_bytes)
      : config_(config),
        shape_(shape),
        backend_(MakeCpuBackend()),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(arena_bytes)) {}

  Runtime runtime() { return {*backend_, *stream_, arena_}; }

  absl::Status Begin(std::unique_ptr<FusionWeights> weights) {
    weight_bytes_ = arena_.bytes_in_use();
    dit_ = std::make_unique<FusionDit>(runtime(), config_, PrecisionPolicy::kAsExecuted, std::move(weights),
                                       std::nullopt);
    const std::vector<float> states(static_cast<std::size_t>(64 * config_.video.text_dim), 0.1f);
    const HostTensor text{states.data(), DType::kF32, {64, config_.video.text_dim}};
    OVI_ASSIGN_OR_RETURN(video_text_, dit_->PrepareText(Tower::kVideo, text));
    OVI_ASSIGN_OR_RETURN(audio_text_, dit_->PrepareText(Tower::kAudio, text));
    OVI_ASSIGN_OR_RETURN(video_, arena_.Allocate(DType::kF32, shape_.video(), "video"));
    OVI_ASSIGN_OR_RETURN(audio_, arena_.Allocate(DType::kF32, shape_.audio(), "audio"));
    OVI_ASSIGN_OR_RETURN(velocity_.video, arena_.Allocate(DType::kF32, shape_.video(), "video"));
    OVI_ASSIGN_OR_RETURN(velocity_.audio, arena_.Allocate(DType::kF32, shape_.audio(), "audio"));
    stream_->Run(Fill{.out = video_, .value = 0.5f});
    stream_->Run(Fill{.out = audio_, .value = 0.5f});
    return stream_->Sync();
  }

  absl::StatusOr<double> StepSeconds() {
    const FusionDit::Pass pass{.video_text = &video_text_, .audio_text = &audio_text_};
    const auto begin = std::chrono::steady_clock::now();
    OVI_RETURN_IF_ERROR(
        dit_->Forward(shape_, {.timestep = 500}, {&pass, 1}, video_, audio_, {&velocity_, 1}, NoCheck));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  std::int64_t weight_bytes() const { return weight_bytes_; }

 private:
  FusionConfig config_;
  LatentShape shape_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
  std::unique_ptr<FusionDit> dit_;
  TextContext video_text_, audio_text_;
  Tensor video_, audio_;
  FusionDit::Velocity velocity_;
  std::int64_t weight_bytes_ = 0;
};

absl::StatusOr<nlohmann::json> Compare(const Options& options, const FusionConfig& config,
                                       const WeightSource& source, DType dtype) {
  NumberFormat format = Bf16NetworkFormat(PrecisionPolicy::kAsExecuted);
  format.block_matrices = {dtype};
  // Tokens in one frame of 2 x 2 patches.
  const LatentShape shape{.channels = config.video.in_dim,
                          .frames = 1,
                          .rows = 2,
                          .columns = 2 * options.video_tokens,
                          .audio_length = 157,
                          .audio_channels = config.audio.in_dim};
  constexpr std::int64_t kArena = std::int64_t{12} << 30;
  Way resident(config, shape, kArena);
  Way streamed(config, shape, kArena);
  OVI_ASSIGN_OR_RETURN(auto weights,
                       LoadResidentWeights(resident.runtime(), config, source, format, NoCheck));
  OVI_RETURN_IF_ERROR(resident.Begin(std::move(weights)));

  OVI_ASSIGN_OR_RETURN(const auto unit_bytes, MeasureUnits(streamed.runtime(), config, source, format));
  // What is outside the blocks stays, but for the text embedding; all pairs stream through two buffers.
  std::int64_t outside = 0;
  for (const auto& [piece, bytes] : unit_bytes) {
    if (piece != FusionPiece::kBlockPair && piece != FusionPiece::kText) outside += bytes;
  }
  const std::int64_t bytes_max = outside + 2 * unit_bytes.at(FusionPiece::kBlockPair);
  OVI_ASSIGN_OR_RETURN(weights, LoadStreamedWeights(streamed.runtime(), config, source, format, bytes_max,
                                                    std::make_unique<MemoryShelf>(), NoCheck));
  OVI_RETURN_IF_ERROR(streamed.Begin(std::move(weights)));

  double resident_best = 1e30, streamed_best = 1e30;
  for (std::int64_t round = 0; round <= options.rounds; ++round) {
    OVI_ASSIGN_OR_RETURN(const double with_resident, resident.StepSeconds());
    OVI_ASSIGN_OR_RETURN(const double with_streamed, streamed.StepSeconds());
    if (round == 0) continue;  // pages come from the system
    resident_best = std::min(resident_best, with_resident);
    streamed_best = std::min(streamed_best, with_streamed);
  }
  return nlohmann::json{{"bench", "streaming"},
                        {"dtype", std::string(DTypeName(dtype))},
                        {"video_tokens", options.video_tokens},
                        {"layers", options.layers},
                        {"resident_step_seconds", resident_best},
                        {"streamed_step_seconds", streamed_best},
                        {"streamed_over_resident", streamed_best / resident_best},
                        {"resident_weight_bytes", resident.weight_bytes()},
                        {"streamed_weight_bytes", streamed.weight_bytes()},
                        {"streamed_bytes_a_step", options.layers * unit_bytes.at(FusionPiece::kBlockPair)}};
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseNumbers(argc, argv,
                    {{"--video-tokens", &options.video_tokens},
                     {"--layers", &options.layers},
                     {"--rounds", &options.rounds}})) {
    std::fprintf(stderr, "usage: streaming_bench [--video-tokens 1125] [--layers 4] [--rounds 3]\n");
    return 2;
  }
  // Not pinned: the copies take whatever core is free.
  cpu::SetThreadCount(1);
  const FusionConfig config{RealTower(true, options.layers), RealTower(false, options.layers)};
  const SyntheticWeights source(FusionTensors(config));
  for (const DType dtype : {DType::kF8E4M3, DType::kI8}) {
    const absl::StatusOr<nlohmann::json> result = Compare(options, config, source, dtype);
    if (!result.ok()) {
      std::fprintf(stderr, "streaming_bench: %s\n", std::string(result.status().message()).c_str());
      return 1;
    }
    std::printf("%s\n", result->dump().c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace ovi::bench

int main(int argc, char** argv) {
  return ovi::bench::Main(argc, argv);
}
