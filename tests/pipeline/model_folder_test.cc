// Finding a model on disk and refusing what is not one.
#include "worker/pipeline/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/pipeline/mini_model.h"
#include "worker/pipeline/check_weights.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::HasSubstr;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Overwrite(const std::string& path, const std::string& bytes) {
  fs::remove(path);  // it is a link to the shipped file
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

TEST(ModelSpec, OfTheShippedModelIsRead) {
  const absl::StatusOr<ModelSpec> spec = ParseModelSpec(Read(MiniModel() + "/model_spec.json"), "spec");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "mini_96x96_1s");
  EXPECT_EQ(spec->weights_file, "model_96x96_1s.safetensors");
  EXPECT_EQ(spec->prompt_style, PromptStyle::kAudioColon);
  EXPECT_EQ(spec->video_area, 96 * 96);
  EXPECT_EQ(spec->video_latent_frames, 7);
  EXPECT_EQ(spec->audio_latent_length, 32);
  EXPECT_EQ(spec->fps, 24);
  EXPECT_EQ(spec->defaults.sample_steps, 12);
  EXPECT_EQ(spec->defaults.slg_layer, 0);
}

TEST(ModelSpec, WithoutDefaultsHasTheOriginals) {
  nlohmann::json spec = nlohmann::json::parse(Read(MiniModel() + "/model_spec.json"));
  spec.erase("defaults");
  const absl::StatusOr<ModelSpec> parsed = ParseModelSpec(spec.dump(), "spec");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->defaults.sample_steps, 50);
  EXPECT_EQ(parsed->defaults.video_guidance_scale, 4.0);
  EXPECT_EQ(parsed->defaults.slg_layer, 11);
}

TEST(ModelSpec, RefusesFieldsThatAreMissingOrOutOfRange) {
  const struct {
    const char* pointer;  // of the field
    const char* value;    // JSON; null removes it
    const char* says;
  } rows[] = {
      {"/name", "null", "name"},
      {"/name", "5", "name"},
      {"/path", "null", "path"},
      {"/path", "\"\"", "path"},
      {"/path", "\"../secret\"", "path"},
      {"/formatter", "\"plain\"", "formatter"},
      {"/formatter", "null", "formatter"},
      {"/video_area", "0", "video_area"},
      {"/video_area", "\"9216\"", "video_area"},
      {"/video_height", "-96", "video_height"},
      {"/video_width", "1e9", "video_width"},
      {"/video_latent_length", "0", "video_latent_length"},
      {"/video_latent_length", "1025", "video_latent_length"},
      {"/audio_latent_length", "1.5", "audio_latent_length"},
      {"/fps", "0", "fps"},
      {"/audio_sample_rate", "1", "audio_sample_rate"},
      {"/defaults", "[]", "defaults"},
      {"/defaults/sample_steps", "0", "sample_steps"},
      {"/defaults/shift", "0", "shift"},
      {"/defaults/video_guidance_scale", "-1", "video_guidance_scale"},
      {"/defaults/audio_guidance_scale", "\"high\"", "audio_guidance_scale"},
      {"/defaults/slg_layer", "-2", "slg_layer"},
      {"/defaults/solver_name", "\"heun\"", "solver_name"},
      {"/defaults/seed", "-1", "seed"},
      {"/defaults/video_negative_prompt", "1", "video_negative_prompt"},
  };
  const nlohmann::json good = nlohmann::json::parse(Read(MiniModel() + "/model_spec.json"));
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << row.pointer << " = " << row.value);
    const nlohmann::json value = nlohmann::json::parse(row.value);
    nlohmann::json spec = value.is_null()
                              ? good.patch({{{"op", "remove"}, {"path", row.pointer}}})
                              : good.patch({{{"op", "replace"}, {"path", row.pointer}, {"value", value}}});
    const absl::Status status = ParseModelSpec(spec.dump(), "spec.json").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), AllOf(HasSubstr("spec.json"), HasSubstr(row.says)));
  }
  for (const char* text : {"", "{", "[]", "null", "{\"name\": \"\xff\"}"}) {
    EXPECT_EQ(ParseModelSpec(text, "spec.json").status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ModelFolder, KnowsTheLengthOfItsClips) {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->frames(), 25);
  EXPECT_EQ(model->audio_samples(), 16384);
  EXPECT_TRUE(CheckWeights(*model).ok());
}

TEST(ModelFolder, NamesTheFileThatIsMissingAndWhatItIs) {
  const struct {
    const char* file;
    const char* what;
  } rows[] = {
      {"model_spec.json", ""},
      {"Ovi/configs/video.json", ""},
      {"Wan2.2-TI2V-5B/t5_config.json", ""},
      {"MMAudio/ext_weights/bigvgan_config.json", ""},
      {"Ovi/model_96x96_1s.safetensors", "fusion transformer"},
      {"Wan2.2-TI2V-5B/models_t5_umt5-xxl-enc-bf16.safetensors", "text encoder"},
      {"Wan2.2-TI2V-5B/google/umt5-xxl/spiece.model", "tokenizer"},
      {"Wan2.2-TI2V-5B/Wan2.2_VAE.safetensors", "video autoencoder"},
      {"MMAudio/ext_weights/v1-16.safetensors", "audio autoencoder"},
      {"MMAudio/ext_weights/best_netG.safetensors", "vocoder"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.file);
    const TempFolder folder;
    LinkModel(folder / "model");
    fs::remove(folder / "model/" + row.file);
    const absl::Status status = OpenModelFolder(folder / "model", "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(row.file), HasSubstr(row.what)));
  }
}

TEST(ModelFolder, TakesTheOriginalsFileNamesToo) {
  const TempFolder folder;
  LinkModel(folder / "model");
  const std::string audio = folder / "model/MMAudio/ext_weights";
  fs::rename(audio + "/best_netG.safetensors", audio + "/best_netG.pt");
  fs::rename(audio + "/v1-16.safetensors", audio + "/v1-16.pth");
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(folder / "model", "");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->vocoder_weights, audio + "/best_netG.pt");
  EXPECT_EQ(model->audio_vae_weights, audio + "/v1-16.pth");
  EXPECT_TRUE(CheckWeights(*model).ok());
}

TEST(ModelFolder, RefusesNetworksThatDoNotFit) {
  const struct {
    const char* file;
    const char* pointer;
    const char* value;
    const char* says;
  } rows[] = {
      {"Ovi/configs/video.json", "/in_dim", "32", "video latent channels: 32 and 48"},
      {"Ovi/configs/video.json", "/out_dim", "32", "video velocity channels: 32 and 48"},
      {"Ovi/configs/audio.json", "/in_dim", "8", "audio latent channels: 8 and 20"},
      {"Ovi/configs/audio.json", "/out_dim", "8", "audio velocity channels: 8 and 20"},
      {"Ovi/configs/video.json", "/text_dim", "32", "text state width: 32 and 64"},
      {"Ovi/configs/audio.json", "/text_dim", "32", "text state width: 32 and 64"},
      {"Ovi/configs/audio.json", "/num_layers", "5", ""},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << row.file << row.pointer);
    const TempFolder folder;
    LinkModel(folder / "model");
    const std::string path = folder / "model/" + row.file;
    const nlohmann::json config = nlohmann::json::parse(Read(path));
    Overwrite(
        path,
        config
            .patch({{{"op", "replace"}, {"path", row.pointer}, {"value", nlohmann::json::parse(row.value)}}})
            .dump());
    const absl::Status status = OpenModelFolder(folder / "model", "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(Message(status), HasSubstr(row.says));
  }
}

TEST(CheckWeights, RefusesTheFileOfAnotherNetworkWhicheverItIs) {
  const absl::StatusOr<ModelFolder> good = OpenModelFolder(MiniModel(), "");
  ASSERT_TRUE(good.ok()) << good.status();
  std::string ModelFolder::*const files[] = {&ModelFolder::fusion_weights, &ModelFolder::text_weights,
                                             &ModelFolder::video_vae_weights, &ModelFolder::audio_vae_weights,
                                             &ModelFolder::vocoder_weights};
  for (const auto file : files) {
    for (const auto other : files) {
      if (file == other) continue;
      ModelFolder model = *good;
      model.*file = (*good).*other;
      const absl::Status status = CheckWeights(model);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << (*good).*file;
      EXPECT_THAT(Message(status), HasSubstr((*good).*other));
    }
  }
}

class FindModelTest : public testing::Test {
 protected:
  void SetUp() override {
    LinkModel(models_ / "mini");
    fs::create_directories(downloads_.path());
    for (const char* part : {"Ovi", "Wan2.2-TI2V-5B", "MMAudio"})
      fs::create_directory_symlink(MiniModel() + "/" + part, downloads_ / part);
  }

  TempFolder models_;     // models by name
  TempFolder downloads_;  // weights without a model_spec.json
};

TEST_F(FindModelTest, FollowsWhatTheUserSays) {
  const struct {
    const char* name;
    ModelLocation choice;
    std::string config_dir, weights_dir;  // "" where it is refused
  } rows[] = {
      {"by name", {.name = "mini"}, models_ / "mini", models_ / "mini"},
      {"by name, weights elsewhere",
       {.name = "mini", .ckpt_dir = downloads_.path()},
       models_ / "mini",
       downloads_.path()},
      {"a whole folder", {.folder = MiniModel()}, MiniModel(), MiniModel()},
      {"a whole folder wins over the name", {.folder = MiniModel(), .name = "x"}, MiniModel(), MiniModel()},
      {"a name as the folder", {.folder = "mini", .name = "x"}, models_ / "mini", models_ / "mini"},
      {"downloaded weights and a name",
       {.folder = downloads_.path(), .name = "mini"},
       models_ / "mini",
       downloads_.path()},
      {"downloaded weights and an unknown name", {.folder = downloads_.path(), .name = "maxi"}, "", ""},
      {"downloaded weights alone", {.folder = downloads_.path()}, "", ""},
      {"an empty folder", {.folder = models_.path(), .name = "mini"}, "", ""},
      {"an unknown name", {.name = "maxi"}, "", ""},
      {"nothing", {}, "", ""},
      {"weights in an empty folder", {.name = "mini", .ckpt_dir = models_.path()}, "", ""},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::StatusOr<ModelFolder> model = FindModel(row.choice, models_.path());
    if (row.config_dir.empty()) {
      EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound) << model.status();
      continue;
    }
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->config_dir, row.config_dir);
    EXPECT_EQ(model->weights_dir, row.weights_dir);
  }
}

}  // namespace
}  // namespace ovi
