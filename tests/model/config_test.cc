// The model configurations: what the shipped files say, and how wrong ones are refused.
//
// Method for refusals: a good document with one field replaced or taken out; the message names file and
// field.
#include "worker/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Field {
  std::string name;
  std::string value;  // JSON; empty to leave the field out
};

std::string Document(const std::vector<Field>& fields, const Field& change = {}) {
  std::string json = "{";
  bool changed = change.name.empty();
  const auto add = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) absl::StrAppend(&json, json.size() > 1 ? "," : "", "\"", name, "\":", value);
  };
  for (const Field& field : fields) {
    changed = changed || field.name == change.name;
    add(field.name, field.name == change.name ? change.value : field.value);
  }
  if (!changed) add(change.name, change.value);
  return json + "}";
}

struct Refusal {
  Field change;
  const char* message;  // without the file's name
};

template <typename Config>
using Parser = absl::StatusOr<Config> (*)(std::string_view json, std::string_view name);

template <typename Config>
void ExpectRefusals(Parser<Config> parse, const std::vector<Field>& good,
                    const std::vector<Refusal>& refusals) {
  EXPECT_EQ(parse(Document(good), "some/file.json").status(), absl::OkStatus());
  std::vector<Refusal> all = refusals;
  for (const char* text : {"", "{", "[1]", "3", "{\"dim\": 1e999}", "nul"}) {
    const absl::Status status = parse(text, "some/file.json").status();
    EXPECT_EQ(status, absl::InvalidArgumentError("some/file.json: content: not a JSON object")) << text;
  }
  for (const Refusal& refusal : all) {
    const std::string json = Document(good, refusal.change);
    const absl::Status status = parse(json, "some/file.json").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(std::string(status.message()), StartsWith(std::string("some/file.json: ") + refusal.message))
        << json;
  }
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(std::string(OVI_SOURCE_DIR) + "/configs/models/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ShippedConfigs, OfThePresetsAreThePublicModels) {
  for (const std::string preset : {"720x720_5s", "960x960_5s", "960x960_10s"}) {
    SCOPED_TRACE(preset);
    const auto video = ParseTowerConfig(ReadFile(preset + "/Ovi/configs/video.json"), "video.json");
    const auto audio = ParseTowerConfig(ReadFile(preset + "/Ovi/configs/audio.json"), "audio.json");
    ASSERT_TRUE(video.ok() && audio.ok()) << video.status() << audio.status();
    for (const TowerConfig& tower : {*video, *audio}) {
      EXPECT_EQ(tower.dim, 3072);
      EXPECT_EQ(tower.ffn_dim, 14336);
      EXPECT_EQ(tower.freq_dim, 256);
      EXPECT_EQ(tower.heads, 24);
      EXPECT_EQ(tower.layers, 30);
      EXPECT_EQ(tower.text_len, 512);
      EXPECT_EQ(tower.text_dim, 4096);
      EXPECT_EQ(tower.in_dim, tower.out_dim);
      EXPECT_EQ(tower.eps, 1e-6);
      EXPECT_EQ(tower.head_dim(), 128);
    }
    EXPECT_EQ(video->in_dim, 48);
    EXPECT_THAT(video->patch, ElementsAre(1, 2, 2));
    EXPECT_EQ(video->temporal_rope_scaling, 1);
    EXPECT_EQ(audio->in_dim, 20);
    EXPECT_THAT(audio->patch, ElementsAre(1));
    EXPECT_EQ(audio->temporal_rope_scaling, 0.19676);
    EXPECT_EQ(CheckFusionConfig({*video, *audio}), absl::OkStatus());

    const auto text = ParseTextConfig(ReadFile(preset + "/Wan2.2-TI2V-5B/t5_config.json"), "t5_config.json");
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(text->vocab, 256384);
    EXPECT_EQ(text->dim, 4096);
    EXPECT_EQ(text->dim_attn, 4096);
    EXPECT_EQ(text->dim_ffn, 10240);
    EXPECT_EQ(text->heads, 64);
    EXPECT_EQ(text->layers, 24);
    EXPECT_EQ(text->buckets, 32);
    EXPECT_EQ(text->max_distance, 128);
    EXPECT_EQ(text->text_len, 512);

    const auto vae =
        ParseVideoVaeConfig(ReadFile(preset + "/Wan2.2-TI2V-5B/vae_config.json"), "vae_config.json");
    ASSERT_TRUE(vae.ok()) << vae.status();
    EXPECT_EQ(vae->z_dim, 48);
    EXPECT_EQ(vae->encoder_dim, 160);
    EXPECT_EQ(vae->decoder_dim, 256);
    EXPECT_THAT(vae->dim_mult, ElementsAre(1, 2, 4, 4));
    EXPECT_THAT(vae->temporal_downsample, ElementsAre(false, true, true));
    EXPECT_EQ(vae->spatial_factor(), 16);
    EXPECT_EQ(vae->temporal_factor(), 4);
    EXPECT_EQ(vae->mean[47], -0.0667f);
    EXPECT_EQ(vae->std[47], 0.7744f);

    const auto audio_vae =
        ParseAudioVaeConfig(ReadFile(preset + "/MMAudio/ext_weights/vae_config.json"), "vae_config.json");
    ASSERT_TRUE(audio_vae.ok()) << audio_vae.status();
    EXPECT_EQ(audio_vae->mel_bins, 80);
    EXPECT_EQ(audio_vae->embed_dim, 20);
    EXPECT_EQ(audio_vae->hidden_dim, 384);
    EXPECT_THAT(audio_vae->ch_mult, ElementsAre(1, 2, 4));
    EXPECT_THAT(audio_vae->down_layers, ElementsAre(0));

    const auto vocoder = ParseVocoderConfig(ReadFile(preset + "/MMAudio/ext_weights/bigvgan_config.json"),
                                            "bigvgan_config.json");
    ASSERT_TRUE(vocoder.ok()) << vocoder.status();
    EXPECT_EQ(vocoder->mel_bins, 80);
    EXPECT_EQ(vocoder->initial_channels, 1536);
    EXPECT_EQ(vocoder->hop(), 256);
    EXPECT_THAT(vocoder->resblock_dilations,
                ElementsAre(ElementsAre(1, 3, 5), ElementsAre(1, 3, 5), ElementsAre(1, 3, 5)));
  }
}

TEST(TowerConfig, NamesFileAndFieldOfWhatIsWrong) {
  const std::vector<Field> good = {{"dim", "48"},      {"ffn_dim", "96"},        {"freq_dim", "16"},
                                   {"num_heads", "4"}, {"num_layers", "2"},      {"text_len", "8"},
                                   {"text_dim", "5"},  {"in_dim", "3"},          {"out_dim", "3"},
                                   {"eps", "1e-5"},    {"patch_size", "[1,2,2]"}};
  ExpectRefusals<TowerConfig>(
      ParseTowerConfig, good,
      {{{"dim", ""}, "dim: missing"},
       {{"ffn_dim", ""}, "ffn_dim: missing"},
       {{"patch_size", ""}, "patch_size: missing"},
       {{"dim", "\"48\""}, "dim: must be an integer"},
       {{"dim", "48.0"}, "dim: must be an integer"},
       {{"dim", "null"}, "dim: must be an integer"},
       {{"dim", "0"}, "dim: must be 1..65536, got 0"},
       {{"dim", "-48"}, "dim: must be 1..65536, got -48"},
       {{"dim", "65537"}, "dim: must be 1..65536, got 65537"},
       {{"dim", "18446744073709551615"}, "dim: must be 1..65536, got 18446744073709551615"},
       {{"num_heads", "5"}, "num_heads: must divide dim into heads of an even size"},
       {{"num_heads", "16"}, "num_heads: must divide dim into heads of an even size"},
       {{"num_layers", "1025"}, "num_layers: must be 1..1024, got 1025"},
       {{"freq_dim", "15"}, "freq_dim: must be even"},
       {{"patch_size", "2"}, "patch_size: must be a list of integers"},
       {{"patch_size", "[1,2]"}, "patch_size: must have 1 or 3 entries"},
       {{"patch_size", "[]"}, "patch_size: must have 1 or 3 entries"},
       {{"patch_size", "[2]"}, "patch_size: of an audio tower must be [1]"},
       {{"patch_size", "[2,2,2]"}, "patch_size: must not span frames"},
       {{"patch_size", "[1,0,2]"}, "patch_size: must be a list of integers 1..64"},
       {{"patch_size", "[1,2.5,2]"}, "patch_size: must be a list of integers 1..64"},
       {{"eps", "\"small\""}, "eps: must be a number"},
       {{"eps", "2"}, "eps: must be 0..1, got 2"},
       {{"temporal_rope_scaling_factor", "0"}, "temporal_rope_scaling_factor: must be 1e-06..1e+06"},
       {{"qk_norm", "false"}, "qk_norm: only true is supported"},
       {{"cross_attn_norm", "1"}, "cross_attn_norm: only true is supported"}});
  const auto audio = ParseTowerConfig(Document(good, {"patch_size", "[1]"}), "f");
  ASSERT_TRUE(audio.ok());
  EXPECT_FALSE(audio->is_video());
  EXPECT_EQ(audio->eps, 1e-5);
}

TEST(TextConfig, NamesFileAndFieldOfWhatIsWrong) {
  const std::vector<Field> good = {{"vocab_size", "99"},   {"dim", "12"},      {"dim_attn", "16"},
                                   {"dim_ffn", "20"},      {"num_heads", "4"}, {"num_layers", "2"},
                                   {"num_buckets", "8"},   {"max_dist", "16"}, {"text_len", "10"},
                                   {"shared_pos", "false"}};
  ExpectRefusals<TextConfig>(ParseTextConfig, good,
                             {{{"vocab_size", ""}, "vocab_size: missing"},
                              {{"num_layers", ""}, "encoder_layers: missing"},
                              {{"max_dist", "2"}, "max_dist: must exceed num_buckets / 4"},
                              {{"num_buckets", "10"}, "num_buckets: must be a multiple of 4"},
                              {{"num_buckets", "3"}, "num_buckets: must be 4..4096, got 3"},
                              {{"num_heads", "3"}, "num_heads: must divide dim_attn"},
                              {{"text_len", "[]"}, "text_len: must be an integer"},
                              {{"shared_pos", "true"}, "shared_pos: only false is supported"}});
}

TEST(VideoVaeConfig, NamesFileAndFieldOfWhatIsWrong) {
  const std::vector<Field> good = {{"z_dim", "2"},          {"dim", "4"},
                                   {"dec_dim", "4"},        {"dim_mult", "[1,2,4,4]"},
                                   {"num_res_blocks", "2"}, {"temperal_downsample", "[false,true,true]"},
                                   {"mean", "[0.5,-0.5]"},  {"std", "[1,0.25]"}};
  ExpectRefusals<VideoVaeConfig>(
      ParseVideoVaeConfig, good,
      {{{"z_dim", ""}, "z_dim: missing"},
       {{"dec_dim", ""}, "dec_dim: missing"},
       {{"temperal_downsample", ""}, "temperal_downsample: missing"},
       {{"temperal_downsample", "[0,1,1]"}, "temperal_downsample: must be a list of booleans"},
       {{"temperal_downsample", "[true]"}, "temperal_downsample: must have one entry fewer than dim_mult"},
       {{"dim_mult", "[1]"}, "dim_mult: must have 2 to 8 entries"},
       {{"dim_mult", "[1,2,-4,4]"}, "dim_mult: must be a list of integers 1..64"},
       {{"patch_size", "4"}, "patch_size: must be 2..2, got 4"},
       {{"mean", "[1]"}, "mean: must have z_dim entries"},
       {{"mean", "[1,null]"}, "mean: must be a list of finite numbers"},
       {{"mean", "[1,1e300]"}, "mean: must be a list of finite numbers"},
       {{"std", "[1,2,3]"}, "std: must have z_dim entries"},
       {{"std", "[1,0]"}, "std: must be positive"},
       {{"std", "[1,-1]"}, "std: must be positive"},
       {{"std", "\"1,1\""}, "std: must be a list of numbers"}});
  const auto config = ParseVideoVaeConfig(Document({good.begin(), good.end() - 2}), "f");
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(config->mean, ElementsAre(0, 0)) << "without statistics latents are as they are";
  EXPECT_THAT(config->std, ElementsAre(1, 1));
}

TEST(AudioVaeConfig, NamesFileAndFieldOfWhatIsWrong) {
  const std::vector<Field> good = {{"data_dim", "4"},      {"embed_dim", "3"},      {"hidden_dim", "4"},
                                   {"ch_mult", "[1,2,4]"}, {"num_res_blocks", "1"}, {"down_layers", "[0]"}};
  ExpectRefusals<AudioVaeConfig>(
      ParseAudioVaeConfig, good,
      {{{"data_dim", ""}, "data_dim: missing"},
       {{"embed_dim", "true"}, "embed_dim: must be an integer"},
       {{"ch_mult", "[]"}, "ch_mult: must not be empty"},
       {{"ch_mult", "{}"}, "ch_mult: must be a list of integers"},
       {{"down_layers", "[2]"}, "down_layers: names a level"},
       {{"down_layers", "[-1]"}, "down_layers: must be a list of integers 0..16"}});
}

TEST(VocoderConfig, NamesFileAndFieldOfWhatIsWrong) {
  const std::vector<Field> good = {{"num_mels", "4"},
                                   {"upsample_initial_channel", "16"},
                                   {"upsample_rates", "[4,2]"},
                                   {"upsample_kernel_sizes", "[8,4]"},
                                   {"resblock_kernel_sizes", "[3,7]"},
                                   {"resblock_dilation_sizes", "[[1,3,5],[1,3,5]]"}};
  ExpectRefusals<VocoderConfig>(
      ParseVocoderConfig, good,
      {{{"num_mels", ""}, "num_mels: missing"},
       {{"resblock_dilation_sizes", ""}, "resblock_dilation_sizes: missing"},
       {{"upsample_rates", "[]"}, "upsample_kernel_sizes: must have one entry for each of upsample_rates"},
       {{"upsample_kernel_sizes", "[8]"}, "upsample_kernel_sizes: must have one entry for each"},
       {{"upsample_kernel_sizes", "[7,4]"}, "upsample_kernel_sizes: must exceed the rate by an even number"},
       {{"upsample_kernel_sizes", "[2,4]"}, "upsample_kernel_sizes: must exceed the rate by an even number"},
       {{"upsample_initial_channel", "3"}, "upsample_initial_channel: is too small"},
       {{"resblock_kernel_sizes", "[3,8]"}, "resblock_kernel_sizes: must be odd"},
       {{"resblock_kernel_sizes", "[3]"}, "resblock_dilation_sizes: must have one list for each"},
       {{"resblock_dilation_sizes", "[[1,3,5],3]"}, "resblock_dilation_sizes: must be a list of lists"},
       {{"resblock_dilation_sizes", "[[1,3,5],[1,0,5]]"},
        "resblock_dilation_sizes: must hold integers 1..1024"}});
}

TEST(Configs, OfAnotherOriginMayUseOtherNames) {
  const auto text =
      ParseTextConfig(R"({"vocab": 9, "dim": 4, "dim_attn": 4, "dim_ffn": 8, "num_heads": 2, "num_layers": 1,
                                        "num_buckets": 8, "max_distance": 20, "text_len": 7, "eps": 0.5})",
                      "f");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->max_distance, 20);
  EXPECT_EQ(text->eps, 0.5);
}

TEST(Configs, OfMoreThan64KilobytesAreRefusedUnread) {
  const absl::Status status = ParseTextConfig(std::string(70000, '['), "big.json").status();
  EXPECT_EQ(status, absl::InvalidArgumentError("big.json: size: 70000 bytes, at most 65536"));
}

TEST(FusionConfig, WantsTwoTowersThatFitTogether) {
  TowerConfig video;
  video.dim = 48;
  video.heads = 4;
  video.layers = 2;
  video.patch = {1, 2, 2};
  TowerConfig audio = video;
  audio.patch = {1};
  EXPECT_EQ(CheckFusionConfig({video, audio}), absl::OkStatus());
  const struct {
    void (*change)(FusionConfig& config);
    const char* message;
  } rows[] = {
      {[](FusionConfig& c) { c.audio.dim = 24; }, "got video 48/4/2 and audio 24/4/2"},
      {[](FusionConfig& c) { c.audio.heads = 2; }, "got video 48/4/2 and audio 48/2/2"},
      {[](FusionConfig& c) { c.video.layers = 3; }, "got video 48/4/3 and audio 48/4/2"},
      {[](FusionConfig& c) { std::swap(c.video, c.audio); }, "the video tower needs a 3-entry patch_size"},
      {[](FusionConfig& c) { c.audio = c.video; }, "and the audio tower a 1-entry one"}};
  for (const auto& row : rows) {
    FusionConfig config{video, audio};
    row.change(config);
    const absl::Status status = CheckFusionConfig(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

}  // namespace
}  // namespace ovi
