// A group of ranks denoises a clip and gets the latents that one rank gets: for every layout, both modes and
// precisions, and models with 8 and with 24 heads. What of it is equal to the last bit is printed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/small_file.h"
#include "base/status.h"
#include "kernels/cpu/parallel.h"
#include "nlohmann/json.hpp"
#include "tests/model/compressed_weights.h"
#include "tests/model/memory_weights.h"
#include "tests/model/test_device.h"
#include "tests/parallel/rank_main.h"
#include "worker/model/unit_buffer.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/pipeline/rank_group.h"
#include "worker/pipeline/stages.h"
#include "worker/plan/step_traffic.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

constexpr std::int64_t kArenaBytes = std::int64_t{192} << 20;

// A transformer, and the clip that is made with it.
struct Network {
  std::string name;
  FusionConfig config;
  std::shared_ptr<WeightSource> weights;
  ClipRequest clip;
  PromptStates prompts;
  std::vector<float> first_frame;  // latents, for i2v
};

std::string ReadText(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path, 1 << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

std::shared_ptr<WeightSource> Open(const std::string& path) {
  absl::StatusOr<std::unique_ptr<WeightSource>> source = OpenWeights(path);
  EXPECT_TRUE(source.ok()) << source.status();
  return *std::move(source);
}

std::vector<float> Floats(const WeightSource& source, const std::string& name) {
  const absl::StatusOr<HostTensor> tensor = source.Find(name);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  const auto* values = static_cast<const float*>(tensor->data);
  return {values, values + tensor->elements()};
}

TextStates States(std::vector<float> values, const FusionConfig& config) {
  const std::int64_t dim = config.video.text_dim;
  return {.tokens = static_cast<std::int64_t>(values.size()) / dim, .dim = dim, .values = std::move(values)};
}

// As its card has it: 63 video tokens.
Network Mini() {
  const std::string folder = OVI_SOURCE_DIR "/configs/models/mini-ovi/Ovi";
  Network network{.name = "mini-ovi"};
  network.config = {.video = *ParseTowerConfig(ReadText(folder + "/configs/video.json"), "video.json"),
                    .audio = *ParseTowerConfig(ReadText(folder + "/configs/audio.json"), "audio.json")};
  network.weights = Open(folder + "/model_96x96_1s.safetensors");
  network.clip.steps = 12;
  network.clip.shift = 5;
  network.clip.video_guidance_scale = 2;
  network.clip.audio_guidance_scale = 2;
  network.clip.latent = {
      .channels = 48, .frames = 7, .rows = 6, .columns = 6, .audio_length = 32, .audio_channels = 20};
  const auto golden = Open(OVI_SOURCE_DIR "/tests/golden/mini-ovi/i2v.safetensors");
  network.prompts = {.positive = States(Floats(*golden, "emb_pos"), network.config),
                     .video_negative = States(Floats(*golden, "emb_video_neg"), network.config),
                     .audio_negative = States(Floats(*golden, "emb_audio_neg"), network.config)};
  network.first_frame = Floats(*golden, "image_latent");
  return network;
}

// The golden set's own pipeline: 12 video tokens.
Network Golden() {
  const std::string folder = OVI_SOURCE_DIR "/tests/golden/open";
  const auto configs = nlohmann::json::parse(ReadText(folder + "/manifest.json")).at("configs");
  const auto& pipeline = configs.at("pipeline");
  Network network{.name = "golden"};
  network.config = {.video = *ParseTowerConfig(configs.at("video_dit").dump(), "video_dit"),
                    .audio = *ParseTowerConfig(configs.at("audio_dit").dump(), "audio_dit")};
  network.weights = Open(folder + "/weights_dit.safetensors");
  network.clip.steps = pipeline.at("steps");
  network.clip.shift = pipeline.at("shift");
  network.clip.video_guidance_scale = pipeline.at("vg");
  network.clip.audio_guidance_scale = pipeline.at("ag");
  network.clip.skip_block = pipeline.at("slg");
  network.clip.latent = {.channels = network.config.video.in_dim,
                         .frames = pipeline.at("F"),
                         .rows = pipeline.at("h"),
                         .columns = pipeline.at("w"),
                         .audio_length = pipeline.at("L"),
                         .audio_channels = network.config.audio.in_dim};
  const auto texts = Open(folder + "/ref_t5.safetensors");
  network.prompts = {.positive = States(Floats(*texts, "t5.embedding.0"), network.config),
                     .video_negative = States(Floats(*texts, "t5.embedding.1"), network.config),
                     .audio_negative = States(Floats(*texts, "t5.embedding.2"), network.config)};
  network.first_frame = Floats(*Open(folder + "/ref_pipeline.safetensors"), "pipeline.i2v.image_latents");
  return network;
}

// The real model's heads, which any number of ranks up to 4, 6 and 8 divides, and 3 x 3 x 5 video tokens,
// which none of them but 3 does.
Network Random24() {
  TowerConfig video{.dim = 24 * 8,
                    .ffn_dim = 100,
                    .freq_dim = 16,
                    .heads = 24,
                    .layers = 3,
                    .text_len = 9,
                    .text_dim = 20,
                    .in_dim = 4,
                    .out_dim = 4,
                    .patch = {1, 2, 2}};
  TowerConfig audio = video;
  audio.in_dim = audio.out_dim = 5;
  audio.patch = {1};
  audio.temporal_rope_scaling = 0.25;
  Network network{.name = "random with 24 heads", .config = {video, audio}};
  network.weights = std::make_shared<MemoryWeights>(RandomWeights(FusionTensors(network.config), 3));
  network.clip.steps = 3;
  network.clip.shift = 5;
  network.clip.video_guidance_scale = 4;
  network.clip.audio_guidance_scale = 3;
  network.clip.skip_block = 1;
  network.clip.latent = {
      .channels = 4, .frames = 3, .rows = 6, .columns = 10, .audio_length = 13, .audio_channels = 5};
  network.prompts = {.positive = States(RandomValues(7 * 20, 1), network.config),
                     .video_negative = States(RandomValues(3 * 20, 2), network.config),
                     .audio_negative = States(RandomValues(1 * 20, 3), network.config)};
  network.first_frame = RandomValues(4 * 6 * 10, 4);
  return network;
}

Network Compressed(Network network) {
  // The compressed ones borrow the plain ones.
  struct Both {
    std::shared_ptr<WeightSource> plain;
    CompressedWeights compressed{*plain};
  };
  const auto both = std::make_shared<Both>(Both{.plain = network.weights});
  network.name += " low rank";
  network.weights = {both, &both->compressed};
  network.clip.memory.block_matrices = LowRankFormat(kDefaultRank);
  return network;
}

ClipRequest Clip(const Network& network, Mode mode, PrecisionPolicy policy) {
  ClipRequest clip = network.clip;
  clip.seed = 17;
  clip.policy = policy;
  clip.image_to_video = mode == Mode::kI2v;
  return clip;
}

enum class Layout { kSequence, kPassesAndSequence, kSharded, kShardedPassesAndSequence };
constexpr Layout kLayouts[] = {Layout::kSequence, Layout::kPassesAndSequence, Layout::kSharded,
                               Layout::kShardedPassesAndSequence};

// Nothing where the heads cannot be divided so.
std::optional<Topology> TopologyOf(Layout layout, int ranks, int heads, std::vector<int> shares = {}) {
  switch (layout) {
    case Layout::kSequence:
      if (!ShardHeads(heads, shares.empty() ? std::vector<int>(static_cast<std::size_t>(ranks), 1) : shares)
               .ok())
        return std::nullopt;
      return Topology{.world_size = ranks, .sp = ranks};
    case Layout::kSharded:  // one rank computes, all hold weights
      return Topology{.world_size = ranks, .fsdp = true};
    case Layout::kPassesAndSequence:
    case Layout::kShardedPassesAndSequence:
      break;
  }
  const bool fsdp = layout == Layout::kShardedPassesAndSequence;
  const absl::StatusOr<Topology> chosen =
      ChooseTopology({.world_size = ranks,
                      .gpus = {.allocation = fsdp ? GpuAllocation::kFsdp : GpuAllocation::kAuto},
                      .heads = heads,
                      .shares = std::move(shares)});
  return chosen.ok() ? std::optional(*chosen) : std::nullopt;
}

class ShardedDenoise : public testing::Test {
 protected:
  ShardedDenoise() : world_(*NewMpiCommunicator({})), ranks_(world_->size()) { cpu::SetThreadCount(1); }

  absl::StatusOr<Latents> DenoiseOn(TestDevice& device, const Network& network, const ClipRequest& clip,
                                    RankGroup* ranks) {
    OVI_ASSIGN_OR_RETURN(Latents latents, MakeNoise(clip));
    OVI_ASSIGN_OR_RETURN(
        const std::unique_ptr<FusionDit> dit,
        LoadDit(device.runtime(), network.config, *network.weights, clip, {}, nullptr, ranks));
    weight_bytes_ = device.arena().bytes_in_use();
    const std::vector<float> first_frame = clip.image_to_video ? network.first_frame : std::vector<float>();
    OVI_RETURN_IF_ERROR(Denoise(*dit, clip, network.prompts, first_frame, {}, {}, latents, ranks));
    return latents;
  }

  // Bytes this rank sends in so many steps and in what goes before them.
  StepTraffic SentIn(int steps, const Network& network, const Topology& topology, PrecisionPolicy policy) {
    ClipRequest clip = Clip(network, Mode::kT2v, policy);
    clip.steps = steps;
    TestDevice device(kArenaBytes);
    world_->ResetCounts();
    const std::unique_ptr<RankGroup> group = *RankGroup::Make(*world_, topology, {});
    const absl::StatusOr<Latents> latents = DenoiseOn(device, network, clip, group.get());
    EXPECT_TRUE(latents.ok()) << latents.status();
    StepTraffic sent;
    for (const Communicator* communicator : group->communicators()) {
      const CommunicatorCounts& counts = communicator->counts();
      sent.all_to_all += counts.bytes(Exchange::kAllToAll);
      sent.all_gather += counts.bytes(Exchange::kAllGather);
      sent.broadcast += counts.bytes(Exchange::kBroadcast);
      sent.send_receive += counts.bytes(Exchange::kSendReceive);
    }
    return sent;
  }

  // By the first rank alone; the others are told.
  Latents Alone(const Network& network, const ClipRequest& clip) {
    const std::unique_ptr<RankGroup> group = *RankGroup::Make(*world_, {.world_size = ranks_}, {});
    Latents latents;
    if (group->leads()) {
      TestDevice device(kArenaBytes);
      latents = *DenoiseOn(device, network, clip, nullptr);
      single_weight_bytes_ = weight_bytes_;
    }
    EXPECT_EQ(group->FromLeader(latents.video), absl::OkStatus());
    EXPECT_EQ(group->FromLeader(latents.audio), absl::OkStatus());
    return latents;
  }

  void Compare(const Network& network, Mode mode, PrecisionPolicy policy, const Topology& topology,
               const Latents& expected, std::vector<int> shares = {},
               TestDevice::Guard guard = TestDevice::Guard::kOff) {
    const std::string what =
        absl::StrCat(network.name, mode == Mode::kI2v ? " i2v" : " t2v",
                     policy == PrecisionPolicy::kReference ? " f32" : " bf16", ", cfg ", topology.cfg,
                     " x sp ", topology.sp, topology.fsdp ? " + fsdp" : "", shares.empty() ? "" : ", unequal",
                     guard == TestDevice::Guard::kOn ? ", guarded" : "");
    SCOPED_TRACE(what);
    TestDevice device(kArenaBytes, guard);
    const std::unique_ptr<RankGroup> group = *RankGroup::Make(*world_, topology, std::move(shares));
    const absl::StatusOr<Latents> latents =
        DenoiseOn(device, network, Clip(network, mode, policy), group.get());
    ASSERT_TRUE(latents.ok()) << latents.status();
    if (!group->place()) return;  // a spare rank
    bool equal = true;
    double largest = 0;
    for (const auto& [actual, wanted] :
         {std::pair{&latents->video, &expected.video}, std::pair{&latents->audio, &expected.audio}}) {
      equal &= *actual == *wanted;
      const double error = RelativeError(*actual, *wanted);
      EXPECT_LE(error, policy == PrecisionPolicy::kReference ? 1e-5 : 2e-2);
      largest = std::max(largest, error);
    }
    if (world_->rank() == 0) {
      std::printf("%-64s %s\n", what.c_str(), equal ? "bit-equal" : absl::StrFormat("%.1e", largest).c_str());
    }
  }

  static double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
    EXPECT_EQ(actual.size(), expected.size());
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(double{actual[i]} - expected[i], 2);
      norm += std::pow(double{expected[i]}, 2);
    }
    return std::sqrt(error / norm);
  }

  void CompareAll(const Network& network) {
    for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
      for (const Mode mode : {Mode::kT2v, Mode::kI2v}) {
        const Latents expected = Alone(network, Clip(network, mode, policy));
        for (const Layout layout : kLayouts) {
          const auto topology = TopologyOf(layout, ranks_, static_cast<int>(network.config.video.heads));
          if (topology) Compare(network, mode, policy, *topology, expected);
        }
      }
    }
  }

  std::unique_ptr<Communicator> world_;
  const int ranks_;
  std::int64_t weight_bytes_ = 0;         // in the arena, of the transformer loaded last
  std::int64_t single_weight_bytes_ = 0;  // on the first rank, without sharding
};

TEST_F(ShardedDenoise, RanksLieOnTheHostsTheyAreMeantTo) {
  const char* ranks = std::getenv("OVI_TEST_RANKS_A_HOST");  // two_hosts.sh
  if (ranks == nullptr) GTEST_SKIP() << "on one host";
  EXPECT_EQ(std::to_string(Session().ranks_on_node()), ranks);
}

TEST_F(ShardedDenoise, MiniOviIsAsOnOneRank) {
  CompareAll(Mini());
}

TEST_F(ShardedDenoise, TheGoldenModelIsAsOnOneRank) {
  CompareAll(Golden());
}

TEST_F(ShardedDenoise, AModelWith24HeadsIsAsOnOneRank) {
  CompareAll(Random24());
}

TEST_F(ShardedDenoise, CompressedWeightsGiveWhatTheyGiveOnOneRank) {
  for (const Network& network : {Compressed(Mini()), Compressed(Random24())}) {
    const Latents expected = Alone(network, Clip(network, Mode::kT2v, PrecisionPolicy::kAsExecuted));
    for (const Layout layout : kLayouts) {
      const auto topology = TopologyOf(layout, ranks_, static_cast<int>(network.config.video.heads));
      if (topology) Compare(network, Mode::kT2v, PrecisionPolicy::kAsExecuted, *topology, expected);
    }
  }
}

TEST_F(ShardedDenoise, UnequalRanksGetTheSameResult) {
  const Network network = Random24();
  std::vector<int> shares(static_cast<std::size_t>(ranks_), 1);
  shares.front() = 2;  // a 24 GB card among 12 GB ones
  const Latents expected = Alone(network, Clip(network, Mode::kT2v, PrecisionPolicy::kReference));
  for (const Layout layout : kLayouts) {
    const auto topology = TopologyOf(layout, ranks_, 24, shares);
    ASSERT_TRUE(topology.has_value());
    Compare(network, Mode::kT2v, PrecisionPolicy::kReference, *topology, expected, shares);
  }
}

TEST_F(ShardedDenoise, DeviceMemoryIsLeftToTheBackend) {
  const Network network = Random24();
  const Latents expected = Alone(network, Clip(network, Mode::kI2v, PrecisionPolicy::kReference));
  world_ = *NewMpiCommunicator({.access = DeviceAccess::kStaged});
  const auto topology = TopologyOf(Layout::kShardedPassesAndSequence, ranks_, 24);
  Compare(network, Mode::kI2v, PrecisionPolicy::kReference, *topology, expected, {}, TestDevice::Guard::kOn);
}

TEST_F(ShardedDenoise, ARankSendsWhatThePlansFormulaSays) {
  for (const Network& network : {Mini(), Random24()}) {
    for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
      TestDevice device(kArenaBytes);
      const auto unit_bytes =
          MeasureUnits(device.runtime(), network.config, *network.weights, Bf16NetworkFormat(policy));
      ASSERT_TRUE(unit_bytes.ok()) << unit_bytes.status();
      for (const Layout layout : kLayouts) {
        const auto topology = TopologyOf(layout, ranks_, static_cast<int>(network.config.video.heads));
        if (!topology) continue;
        SCOPED_TRACE(absl::StrCat(network.name, ": ", topology->cfg, " x ", topology->sp,
                                  topology->fsdp ? " + fsdp" : "", ", rank ", world_->rank()));
        const StepTraffic planned =
            StepTrafficOf({.config = network.config,
                           .latent = network.clip.latent,
                           .compute = policy == PrecisionPolicy::kReference ? DType::kF32 : DType::kBF16,
                           .two_passes = true,
                           .skip_block = network.clip.skip_block,
                           .topology = *topology,
                           .unit_bytes = *unit_bytes},
                          world_->rank());
        const StepTraffic one = SentIn(1, network, *topology, policy);
        const StepTraffic two = SentIn(2, network, *topology, policy);
        EXPECT_EQ(two.all_to_all - one.all_to_all, planned.all_to_all);
        EXPECT_EQ(two.all_gather - one.all_gather, planned.all_gather + planned.weights);
        EXPECT_EQ(two.broadcast - one.broadcast, planned.broadcast);
        EXPECT_EQ(two.send_receive - one.send_receive, planned.send_receive);
      }
    }
  }
}

// A rank holds its share of the weights and two units, of which a block pair is the largest.
TEST_F(ShardedDenoise, ARankHoldsItsShareOfTheWeights) {
  for (const Network& network : {Mini(), Golden(), Random24()}) {
    SCOPED_TRACE(network.name);
    const ClipRequest clip = Clip(network, Mode::kT2v, PrecisionPolicy::kAsExecuted);
    (void)Alone(network, clip);
    std::vector<float> whole{static_cast<float>(single_weight_bytes_)};
    const std::unique_ptr<RankGroup> group =
        *RankGroup::Make(*world_, {.world_size = ranks_, .fsdp = ranks_ > 1}, {});
    ASSERT_EQ(group->FromLeader(whole), absl::OkStatus());
    TestDevice device(kArenaBytes);
    ASSERT_TRUE(DenoiseOn(device, network, clip, group.get()).ok());
    const double total = whole[0];
    std::int64_t pair = 0;
    for (const TensorSpec& spec : FusionTensors(network.config)) {
      const bool in_pair = spec.name.find(".blocks.0.") != std::string::npos;
      // Matrices are bf16, vectors f32.
      if (in_pair) pair += spec.shape.elements() * (spec.shape.rank() == 2 ? 2 : 4);
    }
    EXPECT_LE(weight_bytes_, total / ranks_ + 2.0 * pair + 0.05 * total) << "of " << total;
    if (world_->rank() == 0) {
      std::printf("%-24s %9.0f bytes of weights, on each of %d ranks %9lld\n", network.name.c_str(), total,
                  ranks_, static_cast<long long>(weight_bytes_));
    }
  }
}

}  // namespace
}  // namespace ovi
