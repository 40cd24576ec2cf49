// Two ranks against one, each on a core of its own: a stack of fused blocks at real width (dim 3072), bf16.
//   mpirun -np 2 sharded_bench [--video-tokens 1125] [--layers 2] [--rounds 3]
// JSON to stdout: seconds and ratios, the best of the rounds, and what the plan's model predicts from the
// single rank's rates and the link's. Everything is measured in one run, in turns.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "base/check.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/bench/options.h"
#include "tests/bench/real_model.h"
#include "worker/group/mpi_session.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/sharded_weights.h"
#include "worker/model/unit_buffer.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/plan/step_time.h"

namespace ovi::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::int64_t video_tokens = 1125;
  std::int64_t audio_tokens = 157;
  std::int64_t layers = 2;
  std::int64_t rounds = 3;
};

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// One rank with its device.
class Bench {
 public:
  Bench(const Options& options, Communicator& world)
      : options_(options),
        world_(world),
        config_{RealTower(true, options.layers), RealTower(false, options.layers)},
        weights_(FusionTensors(config_)),
        backend_(MakeCpuBackend()),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(std::int64_t{14} << 30)),
        runtime_{*backend_, *stream_, arena_} {}

  absl::Status Prepare() {
    const SequenceParallel both{.communicator = &world_, .shares = {1, 1}};
    OVI_ASSIGN_OR_RETURN(shard_, ShardSequence(both, options_.video_tokens, options_.audio_tokens, 24));
    const NumberFormat format = Bf16NetworkFormat(PrecisionPolicy::kAsExecuted);
    ParamLoader loader(runtime_, weights_, format);
    for (std::int64_t block = 0; block < options_.layers; ++block) {
      OVI_RETURN_IF_ERROR(
          LoadFusionUnit(loader, config_, {FusionPiece::kBlockPair, block}, resident_.emplace_back()));
    }
    OVI_ASSIGN_OR_RETURN(sharded_, LoadShardedWeights(runtime_, config_, weights_, format, world_, {1, 1},
                                                      [] { return absl::OkStatus(); }));
    OVI_ASSIGN_OR_RETURN(unit_bytes_, MeasureUnits(runtime_, config_, weights_, format));
    for (auto& [piece, bytes] : unit_bytes_) {
      if (piece != FusionPiece::kBlockPair) bytes = 0;  // not part of the stack
    }
    OVI_ASSIGN_OR_RETURN(whole_, MakeInput({0, options_.video_tokens}, nullptr));
    for (std::unique_ptr<Input>& pass : parts_) {
      OVI_ASSIGN_OR_RETURN(pass, MakeInput(shard_.own_tokens(), &shard_));
    }
    prediction_.resize(static_cast<std::size_t>(options_.video_tokens * 192 + options_.audio_tokens * 20));
    other_.resize(prediction_.size());
    return stream_->Sync();
  }

  // Seconds of each way, on the slower rank; a rank that has no part in it waits.
  absl::StatusOr<std::map<std::string, double>> Round() {
    std::map<std::string, double> seconds;
    const bool first = world_.rank() == 0;
    OVI_ASSIGN_OR_RETURN(seconds["one"],
                         Timed([&] { return first ? Stack({whole_.get()}, false) : absl::OkStatus(); }));
    OVI_ASSIGN_OR_RETURN(seconds["sp 2"], Timed([&] { return Stack({parts_[0].get()}, false); }));
    // Sharded weights are gathered once for both passes of a step.
    const std::vector<Input*> both{parts_[0].get(), parts_[1].get()};
    OVI_ASSIGN_OR_RETURN(seconds["sp 2, both passes"], Timed([&] { return Stack(both, false); }));
    OVI_ASSIGN_OR_RETURN(seconds["sp 2 + fsdp, both passes"], Timed([&] { return Stack(both, true); }));
    OVI_ASSIGN_OR_RETURN(seconds["cfg 2"], Timed([&]() -> absl::Status {
                           OVI_RETURN_IF_ERROR(Stack({whole_.get()}, false));
                           return ExchangePredictions();
                         }));
    OVI_ASSIGN_OR_RETURN(seconds["attention"],
                         Timed([&] { return first ? AttentionAlone() : absl::OkStatus(); }));
    OVI_ASSIGN_OR_RETURN(seconds["link"], Timed([&] { return Exchange64MiB(); }));
    return seconds;
  }

  nlohmann::json Report(std::map<std::string, double> best) const {
    const Topology alone;
    const Topology sp{.world_size = 2, .sp = 2};
    const Topology fsdp{.world_size = 2, .sp = 2, .fsdp = true};
    const Topology cfg{.world_size = 2, .cfg = 2};
    const StepWork work = StepWorkOf(RequestOf(alone, false), 0);
    const double tokens = static_cast<double>(options_.video_tokens);
    const double attention_flops = 4 * 3072.0 * tokens * tokens / best["attention"];
    const RankSpeed speed{
        .matrix_flops = work.matrix_flop / (best["one"] - work.attention_flop / attention_flops),
        .attention_flops = attention_flops,
        .link_bytes = static_cast<double>(std::int64_t{64} << 20) / best["link"],
        .overlap = 0};
    const auto entry = [&](const char* name, const Topology& topology, bool two_passes, const char* against) {
      const double predicted = StepTimeOf(RequestOf(topology, two_passes), speed).seconds();
      const bool against_one = against == std::string("one");
      const double reference = against_one && two_passes ? 2 * best["one"] : best[against];
      return nlohmann::json{{"seconds", best[name]},
                            {"against", against},
                            {"speedup", reference / best[name]},
                            {"predicted_seconds", predicted},
                            {"predicted_over_measured", predicted / best[name]}};
    };
    return {{"bench", "sharded"},
            {"video_tokens", options_.video_tokens},
            {"audio_tokens", options_.audio_tokens},
            {"layers", options_.layers},
            {"one_rank_seconds", best["one"]},
            {"matrix_gflops", speed.matrix_flops / 1e9},
            {"attention_gflops", speed.attention_flops / 1e9},
            {"link_gigabytes_per_second", speed.link_bytes / 1e9},
            {"sp_2", entry("sp 2", sp, false, "one")},
            {"cfg_2", entry("cfg 2", cfg, true, "one")},
            {"sp_2_fsdp", entry("sp 2 + fsdp, both passes", fsdp, true, "sp 2, both passes")}};
  }

 private:
  // Both towers on their way through the stack.
  struct Input {
    TowerStream video, audio;
    std::vector<RowSegment> video_segments, audio_segments;
    Tensor e0;
    KeyValue text;
  };

  StepTrafficRequest RequestOf(const Topology& topology, bool two_passes) const {
    return {.config = config_,
            .latent = latent_,
            .two_passes = two_passes,
            .topology = topology,
            .unit_bytes = unit_bytes_};
  }

  absl::StatusOr<Tensor> RandomTensor(std::int64_t rows, std::int64_t columns) {
    std::mt19937 random(static_cast<std::uint32_t>(rows));
    std::normal_distribution<float> normal;
    std::vector<BFloat16> values(static_cast<std::size_t>(rows * columns));
    for (BFloat16& value : values) value = ToBFloat16(normal(random));
    OVI_ASSIGN_OR_RETURN(const Tensor tensor, arena_.Allocate(DType::kBF16, {rows, columns}, "input"));
    stream_->Upload(tensor, HostTensor{values.data(), DType::kBF16, tensor.shape});
    OVI_RETURN_IF_ERROR(stream_->Sync());
    return tensor;
  }

  absl::StatusOr<TowerStream> MakeStream(const TowerConfig& config, std::int64_t tokens,
                                         const std::vector<float>& rope) {
    TowerStream stream{.config = &config, .x = {}, .rope = {}, .keys = tokens};
    OVI_ASSIGN_OR_RETURN(stream.x, RandomTensor(tokens, config.dim));
    const std::int64_t pairs = static_cast<std::int64_t>(rope.size()) / tokens / 2;
    OVI_ASSIGN_OR_RETURN(stream.rope, arena_.Allocate(DType::kF32, {tokens, pairs, 2}, "rope"));
    stream_->Upload(stream.rope, HostTensor{rope.data(), DType::kF32, stream.rope.shape});
    OVI_RETURN_IF_ERROR(stream_->Sync());
    return stream;
  }

  absl::StatusOr<std::unique_ptr<Input>> MakeInput(const ShardRange& range, const SequenceShard* shard) {
    auto input = std::make_unique<Input>();
    const TowerConfig& c = config_.video;
    OVI_ASSIGN_OR_RETURN(input->video,
                         MakeStream(c, range.size(), VideoRopeTable({range.size(), 1, 1}, c.head_dim())));
    OVI_ASSIGN_OR_RETURN(input->audio,
                         MakeStream(config_.audio, options_.audio_tokens,
                                    AudioRopeTable(options_.audio_tokens, c.head_dim(), 0.19676)));
    input->video.shard = shard;
    if (shard != nullptr && !shard->audio_tokens.empty()) input->audio.products = shard;
    input->video_segments = {{0, range.size()}};
    input->audio_segments = {{0, options_.audio_tokens}};
    OVI_ASSIGN_OR_RETURN(input->e0, RandomTensor(1, 6 * c.dim));
    OVI_ASSIGN_OR_RETURN(const Tensor embedded, RandomTensor(kTextRows, c.dim));
    OVI_ASSIGN_OR_RETURN(input->text, TextKeyValue(runtime_, resident_.front().video_block, c, embedded));
    return input;
  }

  // All passes through each block, then the next block.
  absl::Status Stack(const std::vector<Input*>& passes, bool sharded) {
    std::vector<FusionUnit> units;
    for (std::int64_t block = 0; block < options_.layers; ++block)
      units.push_back({FusionPiece::kBlockPair, block});
    FusionWalk walk(*sharded_, units);
    for (std::int64_t block = 0; block < options_.layers; ++block) {
      const FusionParams* params = &resident_[static_cast<std::size_t>(block)];
      if (sharded) {
        OVI_ASSIGN_OR_RETURN(params, walk.Next());
      }
      for (Input* input : passes) {
        OVI_RETURN_IF_ERROR(RunBlockPair(
            runtime_, {params->video_block, input->video_segments, input->e0, input->text, input->video},
            {params->audio_block, input->audio_segments, input->e0, input->text, input->audio}));
      }
    }
    return stream_->Sync();
  }

  absl::Status ExchangePredictions() {
    const int peer = 1 - world_.rank();
    const Outgoing send{peer, std::as_bytes(std::span(prediction_))};
    const Incoming receive{peer, std::as_writable_bytes(std::span(other_))};
    return world_.SendReceive(nullptr, {&send, 1}, {&receive, 1}).Wait();
  }

  // Of the whole video over itself.
  absl::Status AttentionAlone() {
    ArenaScope scope(arena_);
    const std::int64_t tokens = options_.video_tokens;
    OVI_ASSIGN_OR_RETURN(const Tensor q, RandomTensor(tokens, 3072));
    OVI_ASSIGN_OR_RETURN(const Tensor out, arena_.Allocate(DType::kBF16, q.shape, "attention"));
    stream_->Run(Attention{.q = q, .k = q, .v = q, .heads = 24, .keys = tokens, .scale = 0.088f, .out = out});
    return stream_->Sync();
  }

  absl::Status Exchange64MiB() {
    link_out_.resize(std::size_t{64} << 20);
    link_in_.resize(link_out_.size());
    const int peer = 1 - world_.rank();
    const Outgoing send{peer, link_out_};
    const Incoming receive{peer, link_in_};
    return world_.SendReceive(nullptr, {&send, 1}, {&receive, 1}).Wait();
  }

  // From when both ranks are there until both are done.
  absl::StatusOr<double> Timed(const std::function<absl::Status()>& work) {
    OVI_RETURN_IF_ERROR(Meet());
    const Clock::time_point begin = Clock::now();
    OVI_RETURN_IF_ERROR(work());
    std::array<double, 2> seconds{};
    seconds[static_cast<std::size_t>(world_.rank())] = SecondsSince(begin);
    const std::array<std::span<std::byte>, 2> parts{std::as_writable_bytes(std::span(seconds).first(1)),
                                                    std::as_writable_bytes(std::span(seconds).last(1))};
    OVI_RETURN_IF_ERROR(
        world_.AllGatherV(nullptr, parts[static_cast<std::size_t>(world_.rank())], parts).Wait());
    return std::max(seconds[0], seconds[1]);
  }

  absl::Status Meet() {
    std::array<std::byte, 2> marks{};
    const std::array<std::span<std::byte>, 2> parts{std::span(marks).first(1), std::span(marks).last(1)};
    return world_.AllGatherV(nullptr, parts[static_cast<std::size_t>(world_.rank())], parts).Wait();
  }

  const Options options_;
  Communicator& world_;
  const FusionConfig config_;
  const LatentShape latent_{.channels = 48,
                            .frames = options_.video_tokens,
                            .rows = 2,
                            .columns = 2,
                            .audio_length = options_.audio_tokens,
                            .audio_channels = 20};
  SyntheticWeights weights_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
  const Runtime runtime_;
  SequenceShard shard_;
  std::vector<FusionParams> resident_;
  std::unique_ptr<FusionWeights> sharded_;
  std::map<FusionPiece, std::int64_t> unit_bytes_;
  std::unique_ptr<Input> whole_;
  std::array<std::unique_ptr<Input>, 2> parts_;
  std::vector<BFloat16> prediction_, other_;
  std::vector<std::byte> link_out_, link_in_;
};

absl::Status Measure(const Options& options) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> world, NewMpiCommunicator({}));
  if (world->size() != 2) return absl::InvalidArgumentError("needs two ranks: mpirun -np 2");
  Bench bench(options, *world);
  OVI_RETURN_IF_ERROR(bench.Prepare());
  std::map<std::string, double> best;
  for (std::int64_t round = 0; round < options.rounds; ++round) {
    OVI_ASSIGN_OR_RETURN(const auto seconds, bench.Round());
    for (const auto& [name, value] : seconds) {
      const auto [at, fresh] = best.emplace(name, value);
      if (!fresh) at->second = std::min(at->second, value);
    }
  }
  if (world->rank() == 0) std::printf("%s\n", bench.Report(best).dump(2).c_str());
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options options;
  if (!ParseNumbers(argc, argv,
                    {{"--video-tokens", &options.video_tokens},
                     {"--audio-tokens", &options.audio_tokens},
                     {"--layers", &options.layers},
                     {"--rounds", &options.rounds}})) {
    std::fprintf(stderr,
                 "usage: mpirun -np 2 sharded_bench [--video-tokens N] [--audio-tokens N] [--layers N] "
                 "[--rounds N]\n");
    return 2;
  }
  const absl::StatusOr<std::unique_ptr<MpiSession>> session = MpiSession::Start();
  if (!session.ok()) return 1;
  PinToCore((*session)->rank());
  const absl::Status status = Measure(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "sharded_bench: %s\n", status.ToString().c_str());
  (*session)->Abort(1);
}

}  // namespace
}  // namespace ovi::bench

int main(int argc, char** argv) {
  return ovi::bench::Main(argc, argv);
}
