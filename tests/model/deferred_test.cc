// The models on a device that lags behind: what they upload must stay until Sync, whichever way they return.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/model/deferred_backend.h"
#include "tests/model/memory_weights.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/text_encoder.h"
#include "worker/model/video_vae.h"

namespace ovi {
namespace {

absl::Status NeverStop() {
  return absl::OkStatus();
}

class Lagging {
 public:
  explicit Lagging(bool lags)
      : backend_(lags ? std::make_unique<DeferredBackend>(MakeCpuBackend()) : MakeCpuBackend()),
        stream_(*backend_->NewStream()),
        arena_(*backend_->AllocateBlock(std::int64_t{64} << 20)) {}
  Runtime runtime() { return {*backend_, *stream_, arena_}; }
  Stream& stream() { return *stream_; }
  Arena& arena() { return arena_; }
  Tensor Put(const Shape& shape, const std::vector<float>& values) {
    const Tensor tensor = *arena_.Allocate(DType::kF32, shape, "test input");
    stream_->Upload(tensor, {values.data(), DType::kF32, shape});
    EXPECT_EQ(stream_->Sync(), absl::OkStatus());
    return tensor;
  }
  std::vector<float> Get(const Tensor& tensor) {
    std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
    stream_->Download(values.data(), tensor);
    EXPECT_EQ(stream_->Sync(), absl::OkStatus());
    return values;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  Arena arena_;
};

constexpr PrecisionPolicy kPolicies[] = {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted};

TEST(OnALaggingDevice, AStreamStillRunsInOrder) {
  Lagging device(true);
  const Tensor x = device.Put({2}, {1, 2});
  device.stream().Run(Fill{.out = x, .value = 5});
  float before[2] = {};
  device.stream().Download(before, x);
  device.stream().Run(Fill{.out = x, .value = 6});
  EXPECT_EQ(before[0], 0) << "nothing has run yet";
  EXPECT_EQ(device.Get(x), std::vector<float>({6, 6}));
  EXPECT_EQ(before[1], 5);
}

TEST(OnALaggingDevice, TextIsEncodedAsEver) {
  const TextConfig config{.vocab = 23,
                          .dim = 20,
                          .dim_attn = 24,
                          .dim_ffn = 36,
                          .heads = 3,
                          .layers = 2,
                          .buckets = 8,
                          .max_distance = 20};
  const MemoryWeights weights = RandomWeights(TextTensors(config), 3);
  for (const PrecisionPolicy policy : kPolicies) {
    std::vector<std::vector<float>> values;
    for (const bool lags : {false, true}) {
      Lagging device(lags);
      const auto states =
          EncodeText(device.runtime(), config, weights, policy, {{3, 1, 4, 1}, {9, 1}}, NeverStop);
      ASSERT_TRUE(states.ok()) << states.status();
      values.push_back((*states)[0].values);
      values.back().insert(values.back().end(), (*states)[1].values.begin(), (*states)[1].values.end());
    }
    EXPECT_EQ(values[0], values[1]);
  }
}

TEST(OnALaggingDevice, TheFusionTransformerRunsAndStopsAsEver) {
  TowerConfig video{.dim = 24,
                    .ffn_dim = 40,
                    .freq_dim = 8,
                    .heads = 2,
                    .layers = 2,
                    .text_len = 4,
                    .text_dim = 6,
                    .in_dim = 3,
                    .out_dim = 3,
                    .patch = {1, 2, 2}};
  TowerConfig audio = video;
  audio.patch = {1};
  const FusionConfig config{video, audio};
  const MemoryWeights weights = RandomWeights(FusionTensors(config), 5);
  const LatentShape shape{
      .channels = 3, .frames = 2, .rows = 4, .columns = 4, .audio_length = 5, .audio_channels = 3};
  for (const PrecisionPolicy policy : kPolicies) {
    std::vector<std::vector<float>> velocities;
    for (const bool lags : {false, true}) {
      Lagging device(lags);
      const auto dit = FusionDit::Load(device.runtime(), config, weights, policy, NeverStop);
      ASSERT_TRUE(dit.ok()) << dit.status();
      const std::vector<float> states = RandomValues(3 * 6, 7);
      const auto video_text = (*dit)->PrepareText(Tower::kVideo, {states.data(), DType::kF32, {3, 6}});
      const auto audio_text = (*dit)->PrepareText(Tower::kAudio, {states.data(), DType::kF32, {2, 6}});
      ASSERT_TRUE(video_text.ok() && audio_text.ok());
      const Tensor video_latent = device.Put(shape.video(), RandomValues(shape.video().elements(), 1));
      const Tensor audio_latent = device.Put(shape.audio(), RandomValues(shape.audio().elements(), 2));
      const Tensor video_velocity = device.Put(shape.video(), RandomValues(shape.video().elements(), 3));
      const Tensor audio_velocity = device.Put(shape.audio(), RandomValues(shape.audio().elements(), 4));
      const FusionDit::Step step{.timestep = 500, .first_frame_is_clean = true};
      const FusionDit::Pass pass{.video_text = &*video_text, .audio_text = &*audio_text};
      const auto forward = [&](const FusionDit::Check& check) {
        const FusionDit::Velocity velocity{video_velocity, audio_velocity};
        return (*dit)->Forward(shape, step, {&pass, 1}, video_latent, audio_latent, {&velocity, 1}, check);
      };
      // A pass that is stopped leaves work behind, which runs at the next Sync.
      EXPECT_EQ(forward([] { return absl::CancelledError("asked to"); }), absl::CancelledError("asked to"));
      EXPECT_EQ(device.stream().Sync(), absl::OkStatus());
      ASSERT_EQ(forward(NeverStop), absl::OkStatus());
      velocities.push_back(device.Get(video_velocity));
      const std::vector<float> sound = device.Get(audio_velocity);
      velocities.back().insert(velocities.back().end(), sound.begin(), sound.end());
    }
    EXPECT_EQ(velocities[0], velocities[1]);
  }
}

TEST(OnALaggingDevice, VideoIsDecodedAndEncodedAsEver) {
  VideoVaeConfig config;
  config.z_dim = 3;
  config.encoder_dim = config.decoder_dim = 4;
  config.dim_mult = {1, 2, 4, 4};
  config.res_blocks = 1;
  config.temporal_downsample = {false, true, true};
  config.mean = {0, 0, 0};
  config.std = {1, 1, 1};
  const MemoryWeights weights = RandomWeights(VideoVaeTensors(config), 7);
  std::vector<std::vector<float>> frames;
  for (const bool lags : {false, true}) {
    Lagging device(lags);
    const auto decoder =
        VideoVaeDecoder::Load(device.runtime(), config, weights, PrecisionPolicy::kAsExecuted);
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    ASSERT_EQ((*decoder)->Begin(1, 2), absl::OkStatus());
    std::vector<float> all;
    for (std::uint32_t i = 0; i < 2; ++i) {
      ArenaScope scope(device.arena());
      const auto out = (*decoder)->DecodeNext(device.Put({1, 2, 3}, RandomValues(6, i)), nullptr);
      ASSERT_TRUE(out.ok()) << out.status();
      const std::vector<float> pixels = device.Get(*out);
      all.insert(all.end(), pixels.begin(), pixels.end());
    }
    const auto encoder = VideoVaeEncoder::Load(device.runtime(), config, weights,
                                               PrecisionPolicy::kAsExecuted, VideoVaeInput::kClip);
    ASSERT_TRUE(encoder.ok()) << encoder.status();
    const auto latents =
        (*encoder)->Encode(device.Put({5, 16, 16, 3}, RandomValues(5 * 16 * 16 * 3, 9)), nullptr);
    ASSERT_TRUE(latents.ok()) << latents.status();
    const std::vector<float> z = device.Get(*latents);
    all.insert(all.end(), z.begin(), z.end());
    frames.push_back(all);
  }
  EXPECT_EQ(frames[0], frames[1]);
}

}  // namespace
}  // namespace ovi
