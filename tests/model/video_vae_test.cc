// Behaviour of the video autoencoder that no reference number shows: memory, time chunks, precision,
// cancellation. The numbers themselves are held to the original's in tests/golden.
#include "worker/model/video_vae.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/model/memory_weights.h"
#include "tests/model/test_device.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;

VideoVaeConfig SmallConfig() {
  VideoVaeConfig config;
  config.z_dim = 3;
  config.encoder_dim = 4;
  config.decoder_dim = 4;
  config.dim_mult = {1, 2, 4, 4};
  config.res_blocks = 2;
  config.temporal_downsample = {false, true, true};
  config.mean = {0.1f, -0.2f, 0.3f};
  config.std = {0.7f, 1.0f, 1.3f};
  return config;
}

MemoryWeights SmallWeights() {
  return RandomWeights(VideoVaeTensors(SmallConfig()), 7);
}

// Sums of the same products in another order: f32 rounding over some 60 layers of values near 1.
constexpr float kRounding = 2e-5f;

float LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

std::unique_ptr<VideoVaeDecoder> LoadDecoder(TestDevice& device, const WeightSource& weights,
                                             PrecisionPolicy policy = PrecisionPolicy::kReference) {
  auto decoder = VideoVaeDecoder::Load(device.runtime(), SmallConfig(), weights, policy);
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  return *std::move(decoder);
}

std::unique_ptr<VideoVaeEncoder> LoadEncoder(TestDevice& device, const WeightSource& weights,
                                             VideoVaeInput input) {
  auto encoder =
      VideoVaeEncoder::Load(device.runtime(), SmallConfig(), weights, PrecisionPolicy::kReference, input);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

// Latent frame `index` is the same in every clip of 1 x 2 latents.
std::vector<float> Latent(std::uint32_t index) {
  return RandomValues(1 * 2 * 3, 100 + index);
}

std::vector<std::vector<float>> DecodeClip(TestDevice& device, VideoVaeDecoder& decoder,
                                           std::uint32_t frames) {
  ArenaScope scope(device.arena());
  EXPECT_EQ(decoder.Begin(1, 2), absl::OkStatus());
  std::vector<std::vector<float>> decoded;
  for (std::uint32_t i = 0; i < frames; ++i) {
    ArenaScope latent_scope(device.arena());
    const Tensor latent = device.Put({1, 2, 3}, Latent(i));
    const std::int64_t bytes_before = device.arena().bytes_in_use();
    const absl::StatusOr<Tensor> out = decoder.DecodeNext(latent, nullptr);
    EXPECT_TRUE(out.ok()) << out.status();
    EXPECT_EQ(device.arena().bytes_in_use(), bytes_before);
    EXPECT_EQ(out->shape.ToString(), i == 0 ? "1x16x32x3" : "4x16x32x3");
    decoded.push_back(device.Get(*out));
  }
  return decoded;
}

TEST(VideoVaeDecoder, TakesNoMoreMemoryForALongerClip) {
  const MemoryWeights weights = SmallWeights();
  std::int64_t peak[2];
  for (int i = 0; i < 2; ++i) {
    TestDevice device;
    const auto decoder = LoadDecoder(device, weights);
    const std::int64_t loaded = device.arena().bytes_in_use();
    DecodeClip(device, *decoder, i == 0 ? 3 : 8);
    peak[i] = device.arena().bytes_peak();
    EXPECT_GT(peak[i], loaded);
  }
  EXPECT_EQ(peak[0], peak[1]);
}

TEST(VideoVaeDecoder, DependsOnThePastOfItsOwnClipOnly) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device;
  const auto decoder = LoadDecoder(device, weights);
  const auto longer = DecodeClip(device, *decoder, 4);
  const auto shorter = DecodeClip(device, *decoder, 2);
  EXPECT_EQ(shorter[0], longer[0]);
  EXPECT_EQ(shorter[1], longer[1]);

  // And it does depend on that past: the second latent frame alone gives something else.
  ArenaScope scope(device.arena());
  ASSERT_EQ(decoder->Begin(1, 2), absl::OkStatus());
  ASSERT_TRUE(decoder->DecodeNext(device.Put({1, 2, 3}, Latent(9)), nullptr).ok());
  const absl::StatusOr<Tensor> out = decoder->DecodeNext(device.Put({1, 2, 3}, Latent(1)), nullptr);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_GT(LargestDifference(device.Get(*out), longer[1]), 1e-3f);
}

// All frames of a clip, decoded in strips of so many latent rows, put together.
std::vector<std::vector<float>> DecodeStrips(TestDevice& device, VideoVaeDecoder& decoder, std::int64_t rows,
                                             std::int64_t cols, std::int64_t strip_rows) {
  constexpr std::uint32_t kLatents = 3;
  std::vector<std::vector<float>> frames;
  for (std::int64_t begin = 0; begin < rows; begin += strip_rows) {
    const ShardRange strip{begin, std::min(rows, begin + strip_rows)};
    ArenaScope scope(device.arena());
    EXPECT_EQ(strip.size() == rows ? decoder.Begin(rows, cols) : decoder.BeginStrip(rows, cols, strip),
              absl::OkStatus());
    std::size_t index = 0;
    for (std::uint32_t i = 0; i < kLatents; ++i) {
      ArenaScope latent_scope(device.arena());
      const Tensor latent = device.Put({rows, cols, 3}, RandomValues(rows * cols * 3, 500 + i));
      const absl::StatusOr<Tensor> out = decoder.DecodeNext(latent, nullptr);
      EXPECT_TRUE(out.ok()) << out.status();
      EXPECT_EQ(out->shape[1], 16 * strip.size());
      for (std::int64_t t = 0; t < out->shape[0]; ++t) {
        const std::vector<float> part = device.Get(out->Slice(t, 1));
        if (begin == 0) frames.emplace_back();
        frames[index].insert(frames[index].end(), part.begin(), part.end());
        ++index;
      }
    }
  }
  return frames;
}

TEST(VideoVaeDecoder, StripsHaveTheBitsOfThePicture) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device;
  const auto decoder = LoadDecoder(device, weights);
  constexpr std::int64_t kRows = 23;  // more than the rows around a strip that its pixels follow from
  const auto whole = DecodeStrips(device, *decoder, kRows, 2, kRows);
  for (const std::int64_t strip_rows : {1, 5, 12}) {
    const auto strips = DecodeStrips(device, *decoder, kRows, 2, strip_rows);
    ASSERT_EQ(strips.size(), whole.size());
    for (std::size_t i = 0; i < whole.size(); ++i) {
      EXPECT_TRUE(strips[i] == whole[i]) << "frame " << i << " in strips of " << strip_rows << ": "
                                         << LargestDifference(strips[i], whole[i]);
    }
  }
}

TEST(VideoVaeDecoder, AStripTakesLessMemory) {
  const MemoryWeights weights = SmallWeights();
  std::int64_t taken[2];
  for (const bool strip : {false, true}) {
    TestDevice device;
    const auto decoder = LoadDecoder(device, weights);
    const std::int64_t loaded = device.arena().bytes_in_use();
    DecodeStrips(device, *decoder, 64, 2, strip ? 16 : 64);
    taken[strip ? 1 : 0] = device.arena().bytes_peak() - loaded;
  }
  EXPECT_LT(taken[1] * 2, taken[0]);
}

TEST(VideoVaeDecoderStripRows, AreWhatThePixelsOfTheStripFollowFrom) {
  const VideoVaeConfig config = SmallConfig();
  const auto levels = VideoVaeDecoderLevels(config);
  ASSERT_EQ(levels.size(), 4u);
  // Of all rows, all.
  std::int64_t rows = 40;
  for (const ShardRange& range : VideoVaeDecoderStripRows(config, rows, {0, 40})) {
    EXPECT_EQ(range.begin, 0);
    EXPECT_EQ(range.end, rows);
    if (rows < 320) rows *= 2;
  }
  // By hand, from the last level: pixels 8 rows a latent row; the head reads one more, the chain of three
  // blocks six; an enlargement one more, halved outwards.
  const auto reads = VideoVaeDecoderStripRows(config, 40, {20, 22});
  EXPECT_EQ(reads[3].begin, 160 - 1 - 6);
  EXPECT_EQ(reads[3].end, 176 + 1 + 6);
  EXPECT_EQ(reads[2].begin, (153 - 1) / 2 - 6);
  EXPECT_EQ(reads[2].end, (183 + 1) / 2 + 6);
  EXPECT_EQ(reads[1].begin, (70 - 1) / 2 - 6);
  EXPECT_EQ(reads[1].end, (98 + 1 + 1) / 2 + 6);
  EXPECT_EQ(reads[0].begin, (28 - 1) / 2 - 6);
  EXPECT_EQ(reads[0].end, (56 + 1 + 1) / 2 + 6);
}

TEST(VideoVaeDecoder, AsExecutedRoundsTheWeightsAndNothingElse) {
  const MemoryWeights weights = SmallWeights();
  MemoryWeights rounded = SmallWeights();
  for (const TensorInfo& info : rounded.List()) {
    for (float& value : *rounded.MutableValues(info.name)) value = RoundToBFloat16(value);
  }
  TestDevice device;
  const auto reference = DecodeClip(device, *LoadDecoder(device, weights), 2);
  const auto executed = DecodeClip(device, *LoadDecoder(device, weights, PrecisionPolicy::kAsExecuted), 2);
  const auto expected = DecodeClip(device, *LoadDecoder(device, rounded), 2);
  EXPECT_EQ(executed, expected);
  EXPECT_GT(LargestDifference(executed[1], reference[1]), 1e-4f);
}

TEST(VideoVaeDecoder, StopsBetweenBlocksWhenAskedTo) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device;
  const auto decoder = LoadDecoder(device, weights);
  ArenaScope scope(device.arena());
  ASSERT_EQ(decoder->Begin(1, 2), absl::OkStatus());
  const Tensor latent = device.Put({1, 2, 3}, Latent(0));
  int calls = 0;
  const auto stop_at_fifth = [&] {
    return ++calls < 5 ? absl::OkStatus() : absl::CancelledError("asked to");
  };
  EXPECT_EQ(decoder->DecodeNext(latent, stop_at_fifth).status(), absl::CancelledError("asked to"));
  EXPECT_EQ(calls, 5);
}

TEST(VideoVaeDecoder, ReportsAClipThatDoesNotFit) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device(std::int64_t{8} << 20);
  const auto decoder = LoadDecoder(device, weights);
  EXPECT_EQ(decoder->Begin(100, 100).code(), absl::StatusCode::kResourceExhausted);
}

TEST(VideoVaeEncoder, LoadedForAnImageGivesTheFirstLatentOfAClip) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device;
  const auto clip_encoder = LoadEncoder(device, weights, VideoVaeInput::kClip);
  const std::int64_t before = device.arena().bytes_in_use();
  const auto image_encoder = LoadEncoder(device, weights, VideoVaeInput::kImage);
  EXPECT_LT(device.arena().bytes_in_use() - before, before);

  const std::vector<float> pixels = RandomValues(9 * 32 * 16 * 3, 5);
  const Tensor frames = device.Put({9, 32, 16, 3}, pixels);
  const absl::StatusOr<Tensor> clip = clip_encoder->Encode(frames, nullptr);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_EQ(clip->shape.ToString(), "3x2x1x3");
  const absl::StatusOr<Tensor> image = image_encoder->Encode(frames.Slice(0, 1), nullptr);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->shape.ToString(), "1x2x1x3");
  EXPECT_LT(LargestDifference(device.Get(clip->Slice(0, 1)), device.Get(*image)), kRounding);
}

TEST(VideoVaeEncoder, RefusesFramesItCannotDivide) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device;
  const auto clip = LoadEncoder(device, weights, VideoVaeInput::kClip);
  const auto image = LoadEncoder(device, weights, VideoVaeInput::kImage);
  struct Case {
    VideoVaeEncoder* encoder;
    Shape frames;
    const char* message;
  };
  const Case cases[] = {
      {clip.get(), {0, 16, 16, 3}, "frames=0, expected 1 more than a multiple of 4"},
      {clip.get(), {4, 16, 16, 3}, "frames=4, expected 1 more than a multiple of 4"},
      {image.get(), {5, 16, 16, 3}, "frames=5, expected 1"},
      {clip.get(), {1, 16, 24, 3}, "size 24x16, expected multiples of 16"},
      {image.get(), {1, 0, 16, 3}, "size 16x0, expected multiples of 16"},
  };
  for (const Case& c : cases) {
    ArenaScope scope(device.arena());
    const Tensor frames =
        device.Put(c.frames, std::vector<float>(static_cast<std::size_t>(c.frames.elements())));
    const absl::Status status = c.encoder->Encode(frames, nullptr).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(VideoVae, LeavesDeviceMemoryToTheBackend) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device(std::int64_t{8} << 20, TestDevice::Guard::kOn);
  DecodeClip(device, *LoadDecoder(device, weights), 2);
  const auto encoder = LoadEncoder(device, weights, VideoVaeInput::kClip);
  const Tensor frames = device.Put({5, 16, 16, 3}, RandomValues(5 * 16 * 16 * 3, 5));
  EXPECT_EQ(encoder->Encode(frames, nullptr).status(), absl::OkStatus());
}

TEST(VideoVaeResidualChain, GivesTheSameFramesInAnyChunks) {
  const MemoryWeights weights = SmallWeights();
  TestDevice device;
  const Runtime runtime = device.runtime();
  ParamLoader loader(runtime, weights, {});
  const VideoVaeLevel level = VideoVaeDecoderLevels(SmallConfig())[2];
  auto chain =
      video_vae::ResidualChain::Load(loader, "decoder.upsamples.2.upsamples", 3, level, VideoVaeInput::kClip);
  ASSERT_TRUE(chain.ok()) << chain.status();
  const Tensor x = device.Put({5, 3, 4, level.in_channels}, RandomValues(5 * 3 * 4 * level.in_channels, 3));

  const std::vector<std::vector<std::int64_t>> splits = {{5}, {1, 4}, {1, 1, 1, 1, 1}, {3, 2}};
  std::vector<float> whole;
  for (const std::vector<std::int64_t>& split : splits) {
    ArenaScope scope(device.arena());
    const Tensor out =
        device.Put({5, 3, 4, level.out_channels},
                   std::vector<float>(static_cast<std::size_t>(5 * 3 * 4 * level.out_channels)));
    ASSERT_EQ(chain->Begin(runtime, 3, 4), absl::OkStatus());
    std::int64_t begin = 0;
    for (const std::int64_t count : split) {
      ASSERT_EQ(chain->Run(runtime, x.Slice(begin, count), out.Slice(begin, count), nullptr),
                absl::OkStatus());
      begin += count;
    }
    if (whole.empty()) whole = device.Get(out);
    EXPECT_LT(LargestDifference(device.Get(out), whole), kRounding) << split.size() << " chunks";
  }
}

}  // namespace
}  // namespace ovi
