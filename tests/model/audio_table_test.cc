// Goal: the audio networks ask a checkpoint for exactly the tensors it has, and a wrong file is named in the
// error. Method: the public model's counts and shapes as constants, the shipped miniature's files, and broken
// copies of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/model/memory_weights.h"
#include "tests/model/test_device.h"
#include "worker/model/audio_vae.h"
#include "worker/model/vocoder.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

const AudioVaeConfig kPublicVae{.mel_bins = 80,
                                .embed_dim = 20,
                                .hidden_dim = 384,
                                .ch_mult = {1, 2, 4},
                                .res_blocks = 2,
                                .down_layers = {0}};
const AudioVaeConfig kSmallVae{.mel_bins = 4,
                               .embed_dim = 3,
                               .hidden_dim = 4,
                               .ch_mult = {1, 2, 4},
                               .res_blocks = 1,
                               .down_layers = {0}};

VocoderConfig VocoderOf(std::int64_t mel_bins, std::int64_t channels) {
  return {.mel_bins = mel_bins,
          .initial_channels = channels,
          .upsample_rates = {4, 4, 2, 2, 2, 2},
          .upsample_kernels = {8, 8, 4, 4, 4, 4},
          .resblock_kernels = {3, 7, 11},
          .resblock_dilations = {{1, 3, 5}, {1, 3, 5}, {1, 3, 5}}};
}

std::map<std::string, std::string> Table(const std::vector<TensorSpec>& specs) {
  std::map<std::string, std::string> table;
  for (const TensorSpec& spec : specs) table[spec.name] = spec.shape.ToString();
  EXPECT_EQ(table.size(), specs.size()) << "a name is listed twice";
  return table;
}

std::int64_t Values(const std::vector<TensorSpec>& specs) {
  std::int64_t values = 0;
  for (const TensorSpec& spec : specs) values += spec.shape.elements();
  return values;
}

MemoryWeights Filled(const std::vector<TensorSpec>& specs, float value) {
  MemoryWeights weights;
  for (const TensorSpec& spec : specs) {
    const auto count = static_cast<std::size_t>(spec.shape.elements());
    weights.Add(spec.name, spec.shape, std::vector<float>(count, value));
  }
  return weights;
}

TEST(AudioVaeTensors, ListsThePublicCheckpoint) {
  const std::vector<TensorSpec> specs = AudioVaeTensors(kPublicVae);
  EXPECT_EQ(specs.size(), 57u);
  EXPECT_EQ(Values(specs), 171'657'378);
  std::map<std::string, std::string> table = Table(specs);
  const std::map<std::string, std::string> spots = {
      {"data_std", "1x80x1"},
      {"encoder.learnable_gain", "scalar"},
      {"encoder.conv_in.weight", "384x80x3"},
      {"encoder.down.0.downsample.conv2.weight", "384x384x1"},
      {"encoder.down.1.block.0.nin_shortcut.weight", "768x384x1"},
      {"encoder.down.2.block.1.conv2.weight", "1536x1536x3"},
      {"encoder.conv_out.weight", "40x1536x3"},
      {"decoder.conv_in.weight", "1536x20x3"},
      {"decoder.mid.attn_1.qkv.weight", "4608x1536x1"},
      {"decoder.mid.attn_1.proj_out.weight", "1536x1536x1"},
      {"decoder.up.2.block.2.conv1.weight", "1536x1536x3"},
      {"decoder.up.1.block.0.conv1.weight", "768x1536x3"},
      {"decoder.up.1.block.0.nin_shortcut.weight", "768x1536x1"},
      {"decoder.up.1.upsample.conv.weight", "768x768x3"},
      {"decoder.up.0.block.2.conv2.weight", "384x384x3"},
      {"decoder.conv_out.weight", "80x384x3"}};
  for (const auto& [name, shape] : spots) EXPECT_EQ(table[name], shape) << name;
}

TEST(VocoderTensors, ListsThePublicCheckpointUnderBothNamings) {
  const VocoderConfig config = VocoderOf(80, 1536);
  const std::vector<TensorSpec> specs = VocoderTensors(config, WeightNormNames::kGV);
  EXPECT_EQ(specs.size(), 784u);
  std::map<std::string, std::string> table = Table(specs);
  const std::map<std::string, std::string> spots = {{"conv_pre.weight_v", "1536x80x7"},
                                                    {"ups.0.0.weight_g", "1536x1x1"},
                                                    {"ups.0.0.weight_v", "1536x768x8"},
                                                    {"ups.0.0.bias", "768"},
                                                    {"ups.5.0.weight_v", "48x24x4"},
                                                    {"resblocks.1.convs1.2.weight_v", "768x768x7"},
                                                    {"resblocks.17.convs2.0.weight_v", "24x24x11"},
                                                    {"resblocks.17.activations.5.act.beta", "24"},
                                                    {"activation_post.upsample.filter", "1x1x12"},
                                                    {"activation_post.downsample.lowpass.filter", "1x1x12"},
                                                    {"conv_post.weight_g", "1x1x1"},
                                                    {"conv_post.weight_v", "1x24x7"},
                                                    {"conv_post.bias", "1"}};
  for (const auto& [name, shape] : spots) EXPECT_EQ(table[name], shape) << name;

  // What is left once lengths are folded into weights and the filters, equal everywhere, are constants.
  std::int64_t folded = 0;
  for (const TensorSpec& spec : specs) {
    const bool dropped = spec.name.ends_with(".weight_g") || spec.name.ends_with(".filter");
    folded += dropped ? 0 : spec.shape.elements();
  }
  EXPECT_EQ(folded, 112'199'473);

  const std::vector<TensorSpec> renamed = VocoderTensors(config, WeightNormNames::kParametrizations);
  EXPECT_EQ(renamed.size(), 784u);
  EXPECT_EQ(Values(renamed), Values(specs));
  table = Table(renamed);
  EXPECT_EQ(table["conv_pre.parametrizations.weight.original0"], "1536x1x1");
  EXPECT_EQ(table["conv_pre.parametrizations.weight.original1"], "1536x80x7");
}

TEST(AudioTensors, AreThoseOfTheMiniatureWeShip) {
  const std::string folder = std::string(OVI_SOURCE_DIR) + "/configs/models/mini-ovi/MMAudio/ext_weights/";
  AudioVaeConfig vae = kPublicVae;
  vae.hidden_dim = 24;
  const auto vae_file = OpenWeights(folder + "v1-16.safetensors");
  ASSERT_TRUE(vae_file.ok()) << vae_file.status();
  EXPECT_EQ(CheckTensors(**vae_file, AudioVaeTensors(vae)), absl::OkStatus());

  const auto vocoder_file = OpenWeights(folder + "best_netG.safetensors");
  ASSERT_TRUE(vocoder_file.ok()) << vocoder_file.status();
  EXPECT_EQ(FindWeightNormNames(**vocoder_file), WeightNormNames::kGV);
  EXPECT_EQ(CheckTensors(**vocoder_file, VocoderTensors(VocoderOf(80, 128), WeightNormNames::kGV)),
            absl::OkStatus());
}

TEST(NormalisedConvWeight, DividesEachRowByItsRmsAndTheRootOfItsSize) {
  const std::vector<float> weight = {3, 4, 0, 0, 0, 0, 0, 0, -2, 2, -2, 2};
  const std::vector<float> normalised = NormalisedConvWeight(weight, 3);
  ASSERT_EQ(normalised.size(), weight.size());
  // Rms 2.5, 0 and 2; four elements a row.
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(normalised[i], static_cast<float>(weight[i] / (1e-4 + 2.5) / 2)) << i;
    EXPECT_EQ(normalised[4 + i], 0.0f) << i;
    EXPECT_FLOAT_EQ(normalised[8 + i], static_cast<float>(weight[8 + i] / (1e-4 + 2.0) / 2)) << i;
  }
}

TEST(FoldWeightNorm, GivesEachRowItsLengthAndKeepsRowsOfZeros) {
  const std::vector<float> folded =
      FoldWeightNorm(std::vector<float>{10, -1, 7}, std::vector<float>{3, 4, 0, 2, 0, 0});
  EXPECT_THAT(folded, ::testing::Pointwise(::testing::FloatEq(), {6.0f, 8.0f, 0.0f, -1.0f, 0.0f, 0.0f}));
}

TEST(AudioLoading, RefusesAnAutoencoderFileByTheTensorThatIsWrong) {
  TestDevice device;
  const std::vector<TensorSpec> specs = AudioVaeTensors(kSmallVae);
  MemoryWeights missing = Filled(specs, 0.5f);
  missing.Remove("decoder.mid.attn_1.qkv.weight");
  MemoryWeights reshaped = Filled(specs, 0.5f);
  reshaped.Add("data_mean", {1, 1, 4}, std::vector<float>(4, 0.5f));  // as many values, in another order
  MemoryWeights unknown = Filled(specs, 0.5f);
  unknown.Add("decoder.mid.attn_2.qkv.weight", {1}, {0.5f});
  const struct {
    const MemoryWeights* source;
    std::string name;
  } cases[] = {{&missing, "decoder.mid.attn_1.qkv.weight"},
               {&reshaped, "data_mean is 1x1x4, expected 1x4x1"},
               {&unknown, "decoder.mid.attn_2.qkv.weight"}};
  for (const auto& [source, name] : cases) {
    const absl::Status decoder =
        AudioVaeDecoder::Load(device.runtime(), kSmallVae, *source, PrecisionPolicy::kReference).status();
    EXPECT_EQ(decoder.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(decoder.message()), AllOf(HasSubstr("memory"), HasSubstr(name)));
    const absl::Status encoder =
        AudioVaeEncoder::Load(device.runtime(), kSmallVae, *source, PrecisionPolicy::kReference).status();
    EXPECT_THAT(std::string(encoder.message()), HasSubstr(name));
  }
}

TEST(AudioLoading, RefusesAVocoderFileByTheTensorThatIsWrong) {
  TestDevice device;
  const VocoderConfig config = VocoderOf(4, 64);
  const std::vector<TensorSpec> specs = VocoderTensors(config, WeightNormNames::kParametrizations);
  MemoryWeights missing = Filled(specs, 0.5f);
  missing.Remove("ups.3.0.parametrizations.weight.original1");
  MemoryWeights reshaped = Filled(specs, 0.5f);
  reshaped.Add("resblocks.0.activations.0.upsample.filter", {1, 1, 10}, std::vector<float>(10, 0.5f));
  const struct {
    const MemoryWeights* source;
    std::string name;
  } cases[] = {{&missing, "ups.3.0.parametrizations.weight.original1"},
               {&reshaped, "resblocks.0.activations.0.upsample.filter is 1x1x10, expected 1x1x12"}};
  for (const auto& [source, name] : cases) {
    const absl::Status status =
        Vocoder::Load(device.runtime(), config, *source, PrecisionPolicy::kReference).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(AudioLoading, ReportsTheArenaThatIsTooSmallForTheWeights) {
  TestDevice device(4096);
  const MemoryWeights source = Filled(AudioVaeTensors(kSmallVae), 0.5f);
  EXPECT_EQ(
      AudioVaeDecoder::Load(device.runtime(), kSmallVae, source, PrecisionPolicy::kReference).status().code(),
      absl::StatusCode::kResourceExhausted);
}

TEST(AudioLoading, WeightNormNamesDoNotChangeTheSound) {
  const VocoderConfig config = VocoderOf(4, 64);
  std::vector<std::vector<float>> waves;
  for (const WeightNormNames names : {WeightNormNames::kGV, WeightNormNames::kParametrizations}) {
    TestDevice device;
    const MemoryWeights source = Filled(VocoderTensors(config, names), 0.02f);
    const auto vocoder = Vocoder::Load(device.runtime(), config, source, PrecisionPolicy::kReference);
    ASSERT_TRUE(vocoder.ok()) << vocoder.status();
    const auto wave = vocoder->Decode(device.Put({3, 4}, std::vector<float>(12, -0.5f)));
    ASSERT_TRUE(wave.ok()) << wave.status();
    EXPECT_EQ(wave->shape, Shape({3 * 256}));
    waves.push_back(device.Get(*wave));
  }
  EXPECT_EQ(waves[0], waves[1]);
  EXPECT_THAT(waves[0], Each(AllOf(::testing::Gt(0.0f), ::testing::Le(1.0f))));
}

TEST(AudioDecoding, StopsBetweenBlocksAndGivesItsMemoryBack) {
  TestDevice device;
  const MemoryWeights source = Filled(AudioVaeTensors(kSmallVae), 0.5f);
  const auto decoder =
      AudioVaeDecoder::Load(device.runtime(), kSmallVae, source, PrecisionPolicy::kAsExecuted);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  const Tensor z = device.Put({5, 3}, std::vector<float>(15, 0.25f));

  int blocks = 0;
  const std::int64_t before = device.arena().bytes_in_use();
  const auto mel = decoder->Decode(z, [&blocks] {
    ++blocks;
    return absl::OkStatus();
  });
  ASSERT_TRUE(mel.ok()) << mel.status();
  EXPECT_EQ(mel->shape, Shape({10, 4}));
  EXPECT_EQ(mel->dtype, DType::kBF16);
  EXPECT_EQ(blocks, 3 + 3 * 2);  // the middle, then three levels of two
  EXPECT_LE(device.arena().bytes_in_use() - before, mel->bytes() + Arena::kAlignment);

  const auto stopped = decoder->Decode(
      z, [&blocks] { return --blocks > 4 ? absl::OkStatus() : absl::CancelledError("stopped"); });
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(blocks, 4);
}

}  // namespace
}  // namespace ovi
