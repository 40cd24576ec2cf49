// The video autoencoder's table of tensors: against the published checkpoint, the shipped one, and what
// loading reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/model/memory_weights.h"
#include "tests/model/test_device.h"
#include "worker/model/video_vae.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;

VideoVaeConfig Config(std::int64_t z, std::int64_t encoder_dim, std::int64_t decoder_dim) {
  VideoVaeConfig config;
  config.z_dim = z;
  config.encoder_dim = encoder_dim;
  config.decoder_dim = decoder_dim;
  config.dim_mult = {1, 2, 4, 4};
  config.res_blocks = 2;
  config.temporal_downsample = {false, true, true};
  config.mean.assign(static_cast<std::size_t>(z), 0.0f);
  config.std.assign(static_cast<std::size_t>(z), 1.0f);
  return config;
}

TEST(VideoVaeTensors, OfTheRealModelAreThoseOfItsCheckpoint) {
  const std::vector<TensorSpec> specs = VideoVaeTensors(Config(48, 160, 256));
  EXPECT_EQ(specs.size(), 196u);
  std::map<std::string, Shape> shapes;
  std::map<std::string, std::int64_t> parameters;  // by the name's first part
  for (const TensorSpec& spec : specs) {
    EXPECT_TRUE(shapes.emplace(spec.name, spec.shape).second) << spec.name;
    parameters[spec.name.substr(0, spec.name.find('.'))] += spec.shape.elements();
  }
  EXPECT_EQ(parameters["encoder"], 149'627'776);
  EXPECT_EQ(parameters["decoder"], 555'049'228);
  EXPECT_EQ(parameters["conv1"], 9'312);
  EXPECT_EQ(parameters["conv2"], 2'352);

  const std::map<std::string, Shape> expected = {
      {"encoder.conv1.weight", {160, 12, 3, 3, 3}},
      {"encoder.downsamples.0.downsamples.2.resample.1.weight", {160, 160, 3, 3}},
      {"encoder.downsamples.1.downsamples.0.shortcut.weight", {320, 160, 1, 1, 1}},
      {"encoder.downsamples.2.downsamples.2.time_conv.weight", {640, 640, 3, 1, 1}},
      {"encoder.downsamples.3.downsamples.1.residual.6.bias", {640}},
      {"encoder.middle.1.norm.gamma", {640, 1, 1}},
      {"encoder.head.2.weight", {96, 640, 3, 3, 3}},
      {"decoder.middle.1.to_qkv.weight", {3072, 1024, 1, 1}},
      {"decoder.upsamples.1.upsamples.3.time_conv.weight", {2048, 1024, 3, 1, 1}},
      {"decoder.upsamples.2.upsamples.0.residual.0.gamma", {1024, 1, 1, 1}},
      {"decoder.upsamples.3.upsamples.0.shortcut.bias", {256}},
      {"decoder.head.2.weight", {12, 256, 3, 3, 3}},
  };
  for (const auto& [name, shape] : expected) EXPECT_EQ(shapes[name].ToString(), shape.ToString()) << name;
  EXPECT_FALSE(shapes.contains("decoder.upsamples.2.upsamples.3.time_conv.weight"));
}

TEST(VideoVaeTensors, OfTheShippedModelAreThoseOfItsFile) {
  const std::string folder = OVI_SOURCE_DIR "/configs/models/mini-ovi/Wan2.2-TI2V-5B/";
  std::ifstream file(folder + "vae_config.json");
  const std::string json((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto config = ParseVideoVaeConfig(json, "vae_config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const auto weights = OpenWeights(folder + "Wan2.2_VAE.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(CheckTensors(**weights, VideoVaeTensors(*config)), absl::OkStatus());
}

// A source that notes what it is asked for.
class NotingWeights final : public WeightSource {
 public:
  explicit NotingWeights(const WeightSource& inner) : inner_(inner) {}
  const std::string& path() const override { return inner_.path(); }
  const std::map<std::string, std::string>& metadata() const override { return inner_.metadata(); }
  std::vector<TensorInfo> List() const override { return inner_.List(); }
  absl::StatusOr<HostTensor> Find(std::string_view name) const override {
    asked_.emplace(name);
    return inner_.Find(name);
  }
  const std::set<std::string>& asked() const { return asked_; }

 private:
  const WeightSource& inner_;
  mutable std::set<std::string> asked_;
};

TEST(VideoVaeTensors, AreEachReadByOneHalf) {
  const VideoVaeConfig config = Config(3, 2, 2);
  const std::vector<TensorSpec> specs = VideoVaeTensors(config);
  const MemoryWeights weights = RandomWeights(specs, 1);
  TestDevice device;
  NotingWeights decoder(weights), encoder(weights);
  ASSERT_TRUE(VideoVaeDecoder::Load(device.runtime(), config, decoder, PrecisionPolicy::kReference).ok());
  ASSERT_TRUE(VideoVaeEncoder::Load(device.runtime(), config, encoder, PrecisionPolicy::kReference,
                                    VideoVaeInput::kClip)
                  .ok());
  std::set<std::string> in_decoder, in_encoder;
  for (const TensorSpec& spec : specs) {
    const bool decodes = spec.name.starts_with("decoder.") || spec.name.starts_with("conv2.");
    (decodes ? in_decoder : in_encoder).insert(spec.name);
  }
  EXPECT_EQ(decoder.asked(), in_decoder);
  EXPECT_EQ(encoder.asked(), in_encoder);
}

TEST(VideoVaeTensors, MissingAreNamed) {
  const VideoVaeConfig config = Config(3, 2, 2);
  const std::vector<TensorSpec> specs = VideoVaeTensors(config);
  TestDevice device;
  for (const std::string name : {"encoder.conv1.bias", "encoder.middle.1.to_qkv.bias", "conv1.weight",
                                 "encoder.downsamples.1.downsamples.2.time_conv.weight"}) {
    MemoryWeights weights = RandomWeights(specs, 1);
    weights.Remove(name);
    ArenaScope scope(device.arena());
    const absl::Status status = VideoVaeEncoder::Load(device.runtime(), config, weights,
                                                      PrecisionPolicy::kReference, VideoVaeInput::kClip)
                                    .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(VideoVaeTensors, OfAnotherShapeAreRefusedByName) {
  const VideoVaeConfig config = Config(3, 2, 2);
  const std::vector<TensorSpec> specs = VideoVaeTensors(config);
  TestDevice device;
  for (const std::string name :
       {"decoder.conv1.weight", "decoder.middle.1.to_qkv.weight", "conv2.bias",
        "decoder.upsamples.0.upsamples.3.time_conv.weight", "decoder.head.0.gamma"}) {
    MemoryWeights weights = RandomWeights(specs, 1);
    weights.Add(name, {5, 1}, std::vector<float>(5));
    ArenaScope scope(device.arena());
    const absl::Status status =
        VideoVaeDecoder::Load(device.runtime(), config, weights, PrecisionPolicy::kReference).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(VideoVaeConfig, WhoseShortcutsDoNotDivideIsRefused) {
  struct Case {
    const char* name;
    std::vector<std::int64_t> dim_mult;
    const char* message;  // empty: accepted
  };
  const Case cases[] = {
      {"real", {1, 2, 4, 4}, ""},
      {"encoder cannot average 16 values into 6",
       {1, 2, 3, 4},
       "dim_mult: encoder level from 4 to 6 channels"},
      {"encoder cannot widen ninefold", {9, 9, 9, 9}, "dim_mult: encoder level from 2 to 18 channels"},
      {"decoder cannot narrow to an eighth", {1, 1, 8, 8}, "dim_mult: decoder level from 16 to 2 channels"},
  };
  for (const Case& c : cases) {
    VideoVaeConfig config = Config(3, 2, 2);
    config.dim_mult = c.dim_mult;
    const absl::Status status = CheckVideoVaeConfig(config);
    EXPECT_EQ(status.ok(), std::string(c.message).empty()) << c.name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.name;
  }
}

}  // namespace
}  // namespace ovi
