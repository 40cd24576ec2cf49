// The video autoencoder on several ranks against the same on one, to the last bit: pictures of few and many
// rows, equal and unequal ranks, ranks without rows, both precisions, and memory that is fatal to whoever
// touches it but the backend.
//
// Rank 0 computes the reference by itself, while the others wait.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "tests/golden/configs.h"
#include "tests/golden/golden_set.h"
#include "tests/model/memory_weights.h"
#include "tests/model/test_device.h"
#include "worker/model/video_vae.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

// A config and its weights, from wherever.
struct Model {
  VideoVaeConfig config;
  std::shared_ptr<const WeightSource> weights;
};

Model RandomModel(std::int64_t encoder_dim, std::int64_t decoder_dim) {
  VideoVaeConfig config;
  config.z_dim = 3;
  config.encoder_dim = encoder_dim;
  config.decoder_dim = decoder_dim;
  config.dim_mult = {1, 2, 4, 4};
  config.res_blocks = 2;
  config.temporal_downsample = {false, true, true};
  config.mean = {0.1f, -0.2f, 0.3f};
  config.std = {0.7f, 1.0f, 1.3f};
  return {config, std::make_shared<MemoryWeights>(RandomWeights(VideoVaeTensors(config), 7))};
}

Model SmallModel() {
  return RandomModel(4, 4);
}

// Wide enough that oneDNN's fastest kernels would sum the channels of some heights in another order.
Model WideModel() {
  return RandomModel(40, 40);
}

Model GoldenModel() {
  auto set = std::make_shared<golden::Set>(*golden::Set::Open(OVI_SOURCE_DIR "/tests/golden/open"));
  return {*golden::VideoVaeConfigOf(*set), {set, *set->Weights("weights_video_vae")}};
}

Model MiniOvi() {
  const std::string folder = OVI_SOURCE_DIR "/configs/models/mini-ovi/Wan2.2-TI2V-5B/";
  std::ifstream file(folder + "vae_config.json");
  const std::string json((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return {*ParseVideoVaeConfig(json, "vae_config.json"), *OpenWeights(folder + "Wan2.2_VAE.safetensors")};
}

struct Setting {
  const char* name;
  Model (*model)();
  PrecisionPolicy policy;
  TestDevice::Guard guard;
};

struct Clip {
  std::int64_t frames = 1;  // of latents
  std::int64_t rows = 1;
  std::int64_t cols = 1;
};

class ShardedVae : public testing::TestWithParam<Setting> {
 protected:
  ShardedVae()
      : device_(std::int64_t{256} << 20, GetParam().guard),
        stream_(device_.runtime().stream),
        model_(GetParam().model()) {
    world_ =
        *NewMpiCommunicator({.access = GetParam().guard == TestDevice::Guard::kOn ? DeviceAccess::kStaged
                                                                                  : DeviceAccess::kDirect});
  }

  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }
  Arena& arena() { return device_.arena(); }
  const VideoVaeConfig& config() const { return model_.config; }

  // Equal shares, or a fast rank beside slow ones.
  RowSharding Sharding(std::int64_t rows, bool equal) {
    std::vector<int> shares(static_cast<std::size_t>(size()), 1);
    if (!equal) shares[0] = 2;
    return {world_.get(), Shard(rows, shares)};
  }

  std::unique_ptr<VideoVaeDecoder> LoadDecoder() {
    auto decoder = VideoVaeDecoder::Load(device_.runtime(), config(), *model_.weights, GetParam().policy);
    OVI_CHECK(decoder.ok());
    return *std::move(decoder);
  }
  std::unique_ptr<VideoVaeEncoder> LoadEncoder(VideoVaeInput input) {
    auto encoder =
        VideoVaeEncoder::Load(device_.runtime(), config(), *model_.weights, GetParam().policy, input);
    OVI_CHECK(encoder.ok());
    return *std::move(encoder);
  }

  // The same on every rank.
  Tensor LatentFrame(const Clip& clip, std::int64_t index) {
    const Shape shape{clip.rows, clip.cols, config().z_dim};
    return device_.Put(shape, RandomValues(shape.elements(), 100 + static_cast<std::uint32_t>(index)));
  }
  Tensor Pixels(const Clip& clip) {
    const std::int64_t factor = config().spatial_factor();
    const Shape shape{1 + (clip.frames - 1) * config().temporal_factor(), factor * clip.rows,
                      factor * clip.cols, 3};
    return device_.Put(shape, RandomValues(shape.elements(), 5));
  }

  // The pixels that each latent frame becomes, whole and on rank 0 alone.
  std::vector<std::vector<float>> Decode(VideoVaeDecoder& decoder, const Clip& clip,
                                         const RowSharding& sharding) {
    ArenaScope scope(arena());
    EXPECT_EQ(decoder.Begin(clip.rows, clip.cols, sharding), absl::OkStatus());
    std::vector<std::vector<float>> decoded;
    for (std::int64_t t = 0; t < clip.frames; ++t) {
      ArenaScope frame_scope(arena());
      const Tensor latent = LatentFrame(clip, t);
      const absl::StatusOr<Tensor> mine = decoder.DecodeNext(latent, nullptr);
      EXPECT_TRUE(mine.ok()) << mine.status();
      Tensor all = *mine;
      if (sharding.communicator != nullptr) all = Gather(clip, sharding, *mine);
      if (rank() == 0) decoded.push_back(device_.Get(all));
    }
    return decoded;
  }
  Tensor Gather(const Clip& clip, const RowSharding& sharding, const Tensor& mine) {
    const std::int64_t factor = config().spatial_factor();
    const std::int64_t own_rows = sharding.rows[static_cast<std::size_t>(rank())].size();
    EXPECT_EQ(mine.shape.ToString(),
              Shape({mine.shape[0], factor * own_rows, factor * clip.cols, 3}).ToString());
    const Shape shape{mine.shape[0], factor * clip.rows, factor * clip.cols, 3};
    Tensor all;
    if (rank() == 0) {
      all = device_.Put(shape, std::vector<float>(static_cast<std::size_t>(shape.elements())));
    }
    EXPECT_EQ(GatherRows(sharding, &stream_, mine, all, 0), absl::OkStatus());
    return all;
  }

  TestDevice device_;
  Stream& stream_;
  Model model_;
  std::unique_ptr<Communicator> world_;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

constexpr Clip kClips[] = {{3, 1, 2}, {2, 3, 1}, {2, 5, 2}, {1, 9, 1}};

TEST_P(ShardedVae, DecodesTheSameBits) {
  const auto decoder = LoadDecoder();
  for (const Clip& clip : kClips) {
    std::vector<std::vector<float>> expected;
    if (rank() == 0) expected = Decode(*decoder, clip, {});
    for (const bool equal : {true, false}) {
      SCOPED_TRACE(
          absl::StrCat(clip.frames, "x", clip.rows, "x", clip.cols, equal ? ", equal" : ", unequal"));
      const RowSharding sharding = Sharding(clip.rows, equal);
      world_->ResetCounts();
      const std::vector<std::vector<float>> decoded = Decode(*decoder, clip, sharding);
      ASSERT_EQ(decoded.size(), expected.size());
      for (std::size_t t = 0; t < decoded.size(); ++t) {
        EXPECT_TRUE(SameBits(decoded[t], expected[t])) << "latent frame " << t;
      }

      EXPECT_EQ(
          world_->counts().bytes(Exchange::kSendReceive),
          HaloBytesSent(VideoVaeDecoderHaloBytes(config(), clip.frames, clip.cols), sharding.rows, rank()));
      const std::int64_t pixels = sharding.rows[static_cast<std::size_t>(rank())].size() * clip.cols *
                                  config().spatial_factor() * config().spatial_factor() *
                                  (1 + (clip.frames - 1) * config().temporal_factor());
      EXPECT_EQ(world_->counts().bytes(Exchange::kAllToAll),
                GatherBytesSent(pixels * 3 * std::int64_t{sizeof(float)}, rank() == 0));
      EXPECT_EQ(world_->counts().bytes_total(),
                world_->counts().bytes(Exchange::kSendReceive) + world_->counts().bytes(Exchange::kAllToAll));
    }
  }
}

TEST_P(ShardedVae, EncodesTheSameBitsOnEveryRank) {
  for (const VideoVaeInput input : {VideoVaeInput::kImage, VideoVaeInput::kClip}) {
    const auto encoder = LoadEncoder(input);
    for (Clip clip : kClips) {
      if (input == VideoVaeInput::kImage) clip.frames = 1;
      ArenaScope scope(arena());
      const Tensor frames = Pixels(clip);
      // Every rank's own reference would be the same work many times over on this machine.
      const Shape shape{clip.frames, clip.rows, clip.cols, config().z_dim};
      std::vector<float> expected(static_cast<std::size_t>(shape.elements()));
      if (rank() == 0) expected = device_.Get(*encoder->Encode(frames, nullptr));
      ASSERT_EQ(world_->Broadcast(nullptr, 0, std::as_writable_bytes(std::span(expected))).Wait(),
                absl::OkStatus());
      for (const bool equal : {true, false}) {
        SCOPED_TRACE(absl::StrCat(clip.frames, "x", clip.rows, "x", clip.cols, equal ? "" : ", unequal"));
        ArenaScope encode_scope(arena());
        const RowSharding sharding = Sharding(clip.rows, equal);
        world_->ResetCounts();
        const absl::StatusOr<Tensor> latents = encoder->Encode(frames, nullptr, sharding);
        ASSERT_TRUE(latents.ok()) << latents.status();
        EXPECT_EQ(latents->shape.ToString(), shape.ToString());
        EXPECT_TRUE(SameBits(device_.Get(*latents), expected));

        EXPECT_EQ(
            world_->counts().bytes(Exchange::kSendReceive),
            HaloBytesSent(VideoVaeEncoderHaloBytes(config(), clip.frames, clip.cols), sharding.rows, rank()));
        const std::int64_t own_values = clip.frames * sharding.rows[static_cast<std::size_t>(rank())].size() *
                                        clip.cols * VideoVaeEncoderLevels(config()).back().out_channels;
        EXPECT_EQ(world_->counts().bytes(Exchange::kAllGather),
                  AllGatherBytesSent(own_values * std::int64_t{sizeof(float)}, size()));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Everywhere, ShardedVae,
    testing::Values(Setting{"small", SmallModel, PrecisionPolicy::kReference, TestDevice::Guard::kOff},
                    Setting{"small_as_executed", SmallModel, PrecisionPolicy::kAsExecuted,
                            TestDevice::Guard::kOff},
                    Setting{"small_guarded", SmallModel, PrecisionPolicy::kReference, TestDevice::Guard::kOn},
                    Setting{"wide", WideModel, PrecisionPolicy::kReference, TestDevice::Guard::kOff},
                    Setting{"golden", GoldenModel, PrecisionPolicy::kReference, TestDevice::Guard::kOff},
                    Setting{"mini_ovi", MiniOvi, PrecisionPolicy::kAsExecuted, TestDevice::Guard::kOff}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

class ShardedSmallVae : public ShardedVae {};

// Bytes as a picture's, in host memory.
TEST_P(ShardedSmallVae, GathersBytesOnAnyRank) {
  const Shape shape{3, 5 * 4, 2, 3};
  std::vector<std::uint8_t> picture(static_cast<std::size_t>(shape.elements()));
  for (std::size_t i = 0; i < picture.size(); ++i) picture[i] = static_cast<std::uint8_t>(i * 37);
  const RowSharding sharding = Sharding(5, /*equal=*/false);
  const ShardRange own = sharding.rows[static_cast<std::size_t>(rank())];
  const std::size_t row = 2 * 3;
  std::vector<std::uint8_t> mine;
  for (std::size_t t = 0; t < 3; ++t) {
    const auto frame = picture.begin() + static_cast<std::ptrdiff_t>(t * 20 * row);
    mine.insert(mine.end(), frame + own.begin * 4 * static_cast<std::ptrdiff_t>(row),
                frame + own.end * 4 * static_cast<std::ptrdiff_t>(row));
  }
  for (int root = 0; root < size(); ++root) {
    std::vector<std::uint8_t> gathered(rank() == root ? picture.size() : 0);
    const Tensor from{reinterpret_cast<std::byte*>(mine.data()), DType::kU8, {3, own.size() * 4, 2, 3}};
    const Tensor to{reinterpret_cast<std::byte*>(gathered.data()), DType::kU8, shape};
    ASSERT_EQ(GatherRows(sharding, nullptr, from, to, root), absl::OkStatus());
    if (rank() == root) {
      EXPECT_EQ(gathered, picture);
    }
  }
}

// Caches, activations and pixels of a rank are those of its rows and of the halo; only what is computed at
// the lowest resolution is not divided.
TEST_P(ShardedSmallVae, TakesMemoryForItsRowsOnly) {
  const Clip clip{.frames = 2, .rows = std::int64_t{8} * size(), .cols = 2};
  const auto decoder = LoadDecoder();
  const auto peak = [&](const RowSharding& sharding) {
    const std::int64_t loaded = arena().bytes_in_use();
    arena().ResetPeak();
    ArenaScope scope(arena());
    EXPECT_EQ(decoder->Begin(clip.rows, clip.cols, sharding), absl::OkStatus());
    for (std::int64_t t = 0; t < clip.frames; ++t) {
      ArenaScope frame_scope(arena());
      EXPECT_TRUE(decoder->DecodeNext(LatentFrame(clip, t), nullptr).ok());
    }
    return arena().bytes_peak() - loaded;
  };
  const std::int64_t alone = peak({});
  const std::int64_t sharded = peak(Sharding(clip.rows, /*equal=*/true));
  const double part = static_cast<double>(sharded) / static_cast<double>(alone);
  if (size() == 1) {
    EXPECT_EQ(sharded, alone);
  } else {
    EXPECT_LT(part, 1.0 / size() + 0.12);
  }
}

// The rank that gives up leaves the others in the middle of an exchange: the interruption ends their wait,
// and after Settle the next clip is decoded as if nothing had been.
TEST_P(ShardedSmallVae, AnErrorOnOneRankEndsTheDecodeOfTheOthers) {
  if (size() == 1) return;
  const Clip clip{.frames = 2, .rows = std::int64_t{2} * size(), .cols = 2};
  const RowSharding sharding = Sharding(clip.rows, /*equal=*/true);
  const auto decoder = LoadDecoder();
  std::vector<std::vector<float>> expected;
  if (rank() == 0) expected = Decode(*decoder, clip, {});
  for (int failing = 0; failing < size(); ++failing) {
    // What tells the ranks is outside of the communicator; here a file, named after the mpirun of them all.
    const std::string notice = absl::StrCat(testing::TempDir(), "sharded_vae_", getppid(), "_", failing);
    world_->SetInterruption([&notice] {
      return access(notice.c_str(), F_OK) == 0 ? absl::AbortedError("another rank has failed")
                                               : absl::OkStatus();
    });
    {
      ArenaScope scope(arena());
      ASSERT_EQ(decoder->Begin(clip.rows, clip.cols, sharding), absl::OkStatus());
      int blocks = 0;
      const auto fail_at_seventh = [&] {
        return rank() == failing && ++blocks == 7 ? absl::CancelledError("asked to") : absl::OkStatus();
      };
      const absl::Status status = decoder->DecodeNext(LatentFrame(clip, 0), fail_at_seventh).status();
      if (rank() == failing) {
        EXPECT_EQ(status, absl::CancelledError("asked to"));
        std::ofstream file(notice);
      } else {
        EXPECT_EQ(status, absl::AbortedError("another rank has failed"));
      }
      ASSERT_EQ(world_->Settle(), absl::OkStatus());
      world_->SetInterruption(nullptr);
      if (rank() == failing) unlink(notice.c_str());
    }
    const std::vector<std::vector<float>> decoded = Decode(*decoder, clip, sharding);
    for (std::size_t t = 0; t < decoded.size(); ++t) EXPECT_TRUE(SameBits(decoded[t], expected[t]));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Everywhere, ShardedSmallVae,
    testing::Values(Setting{"direct", SmallModel, PrecisionPolicy::kReference, TestDevice::Guard::kOff},
                    Setting{"guarded", SmallModel, PrecisionPolicy::kReference, TestDevice::Guard::kOn}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

}  // namespace
}  // namespace ovi
