#include "worker/pipeline/model_folder.h"

#include <cstdlib>
#include <filesystem>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "base/program_files.h"
#include "base/small_file.h"
#include "base/status.h"
#include "worker/job/job_spec.h"
#include "worker/model/json_reader.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

bool IsFile(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  constexpr std::int64_t kConfigBytesMax = 64 * 1024;
  return ReadSmallFile(path, kConfigBytesMax);
}

// The first of `dir`/`stem``ending` that is a file.
absl::StatusOr<std::string> FindWeights(const std::string& dir, const std::string& stem,
                                        std::initializer_list<const char*> endings, std::string_view what) {
  for (const char* ending : endings) {
    std::string path = absl::StrCat(dir, "/", stem, ending);
    if (IsFile(path)) return path;
    std::error_code error;
    if (fs::exists(path, error)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file (", std::string(what), ")"));
    }
  }
  return absl::NotFoundError(
      absl::StrCat(dir, "/", stem, *endings.begin(), ": missing (", std::string(what),
                   "); download the model's files into this folder, or give the folder that "
                   "has them as ckpt_dir"));
}

absl::StatusOr<PromptStyle> ParsePromptStyle(const JsonReader& reader, const std::string& word) {
  if (word == "audio_colon") return PromptStyle::kAudioColon;
  if (word == "audcap_tags") return PromptStyle::kAudcapTags;
  return reader.Error("formatter", absl::StrCat("must be audio_colon or audcap_tags, got \"", word, "\""));
}

absl::StatusOr<ModelDefaults> ParseDefaults(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  ModelDefaults defaults;
  std::int64_t steps = defaults.sample_steps;
  std::int64_t slg = defaults.slg_layer;
  std::int64_t seed = static_cast<std::int64_t>(defaults.seed);
  std::string solver = "unipc";
  reader.OptionalInt({"sample_steps"}, 1, kStepsMax, &steps);
  reader.OptionalNumber({"shift"}, 1e-3, 100, &defaults.shift);
  reader.OptionalNumber({"video_guidance_scale"}, 0, 100, &defaults.video_guidance_scale);
  reader.OptionalNumber({"audio_guidance_scale"}, 0, 100, &defaults.audio_guidance_scale);
  reader.OptionalInt({"slg_layer"}, -1, 1 << 16, &slg);
  reader.OptionalInt({"seed"}, 0, std::int64_t{1} << 62, &seed);
  reader.OptionalString({"solver_name"}, &solver);
  reader.OptionalString({"video_negative_prompt"}, &defaults.video_negative_prompt);
  reader.OptionalString({"audio_negative_prompt"}, &defaults.audio_negative_prompt);
  OVI_RETURN_IF_ERROR(reader.status());
  const absl::StatusOr<SolverKind> kind = ParseSolver(solver);
  if (!kind.ok()) return reader.Error("solver_name", std::string(kind.status().message()));
  defaults.solver = *kind;
  defaults.sample_steps = static_cast<int>(steps);
  defaults.slg_layer = static_cast<int>(slg);
  defaults.seed = static_cast<std::uint64_t>(seed);
  return defaults;
}

// Parses `dir`/`file` with one of the config parsers.
template <typename Config>
absl::Status ReadConfig(const std::string& dir, const char* file,
                        absl::StatusOr<Config> (*parse)(std::string_view, std::string_view), Config& out) {
  const std::string path = absl::StrCat(dir, "/", file);
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  OVI_ASSIGN_OR_RETURN(out, parse(text, path));
  return absl::OkStatus();
}

// The networks must fit each other: what one puts out, the next takes in.
absl::Status CheckFit(const ModelFolder& m) {
  const auto differ = [&](std::string_view what, std::int64_t a, std::int64_t b) {
    return absl::InvalidArgumentError(
        absl::StrCat(m.config_dir, ": the networks do not fit: ", std::string(what), ": ", a, " and ", b));
  };
  OVI_RETURN_IF_ERROR(CheckFusionConfig(m.fusion));
  if (m.fusion.video.in_dim != m.video_vae.z_dim)
    return differ("video latent channels", m.fusion.video.in_dim, m.video_vae.z_dim);
  if (m.fusion.video.out_dim != m.video_vae.z_dim)
    return differ("video velocity channels", m.fusion.video.out_dim, m.video_vae.z_dim);
  if (m.fusion.audio.in_dim != m.audio_vae.embed_dim)
    return differ("audio latent channels", m.fusion.audio.in_dim, m.audio_vae.embed_dim);
  if (m.fusion.audio.out_dim != m.audio_vae.embed_dim)
    return differ("audio velocity channels", m.fusion.audio.out_dim, m.audio_vae.embed_dim);
  if (m.fusion.video.text_dim != m.text.dim)
    return differ("text state width", m.fusion.video.text_dim, m.text.dim);
  if (m.fusion.audio.text_dim != m.text.dim)
    return differ("text state width", m.fusion.audio.text_dim, m.text.dim);
  if (m.fusion.video.text_len < m.text.text_len)
    return differ("text rows", m.fusion.video.text_len, m.text.text_len);
  if (m.fusion.audio.text_len < m.text.text_len)
    return differ("text rows", m.fusion.audio.text_len, m.text.text_len);
  if (m.audio_vae.mel_bins != m.vocoder.mel_bins)
    return differ("mel bins", m.audio_vae.mel_bins, m.vocoder.mel_bins);
  return absl::OkStatus();
}

}  // namespace

std::int64_t ModelFolder::frames() const {
  return 1 + (spec.video_latent_frames - 1) * video_vae.temporal_factor();
}

std::int64_t ModelFolder::audio_samples() const {
  return (spec.audio_latent_length << audio_vae.down_layers.size()) * vocoder.hop();
}

absl::StatusOr<ModelSpec> ParseModelSpec(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  ModelSpec spec;
  std::string formatter;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t fps = 24;
  std::int64_t sample_rate = 16000;
  reader.String({"name"}, &spec.name);
  reader.String({"path"}, &spec.weights_file);
  reader.String({"formatter"}, &formatter);
  reader.Int({"video_area"}, 1024, 1 << 26, &spec.video_area);
  reader.Int({"video_height"}, 32, 8192, &height);
  reader.Int({"video_width"}, 32, 8192, &width);
  reader.Int({"video_latent_length"}, 1, 1024, &spec.video_latent_frames);  // the rotary tables' limit
  reader.Int({"audio_latent_length"}, 1, 1024, &spec.audio_latent_length);
  reader.OptionalInt({"fps"}, 1, 240, &fps);
  reader.OptionalInt({"audio_sample_rate"}, 8000, 192000, &sample_rate);
  const std::string defaults = reader.Object({"defaults"});
  OVI_RETURN_IF_ERROR(reader.status());
  if (spec.weights_file.find('/') != std::string::npos || spec.weights_file.empty()) {
    return reader.Error("path", "must be the name of a file in the Ovi folder");
  }
  OVI_ASSIGN_OR_RETURN(spec.prompt_style, ParsePromptStyle(reader, formatter));
  OVI_ASSIGN_OR_RETURN(spec.defaults, ParseDefaults(defaults, absl::StrCat(std::string(name), ": defaults")));
  spec.default_height = static_cast<int>(height);
  spec.default_width = static_cast<int>(width);
  spec.fps = static_cast<int>(fps);
  spec.audio_sample_rate = static_cast<int>(sample_rate);
  return spec;
}

namespace {

absl::StatusOr<ModelFolder> ReadConfigs(const std::string& config_dir, const std::string& weights_dir) {
  ModelFolder m{.config_dir = config_dir, .weights_dir = weights_dir.empty() ? config_dir : weights_dir};
  OVI_RETURN_IF_ERROR(ReadConfig(config_dir, "model_spec.json", ParseModelSpec, m.spec));
  OVI_RETURN_IF_ERROR(ReadConfig(config_dir, "Ovi/configs/video.json", ParseTowerConfig, m.fusion.video));
  OVI_RETURN_IF_ERROR(ReadConfig(config_dir, "Ovi/configs/audio.json", ParseTowerConfig, m.fusion.audio));
  OVI_RETURN_IF_ERROR(ReadConfig(config_dir, "Wan2.2-TI2V-5B/t5_config.json", ParseTextConfig, m.text));
  OVI_RETURN_IF_ERROR(
      ReadConfig(config_dir, "Wan2.2-TI2V-5B/vae_config.json", ParseVideoVaeConfig, m.video_vae));
  OVI_RETURN_IF_ERROR(
      ReadConfig(config_dir, "MMAudio/ext_weights/vae_config.json", ParseAudioVaeConfig, m.audio_vae));
  OVI_RETURN_IF_ERROR(
      ReadConfig(config_dir, "MMAudio/ext_weights/bigvgan_config.json", ParseVocoderConfig, m.vocoder));
  OVI_RETURN_IF_ERROR(CheckFit(m));
  return m;
}

}  // namespace

absl::StatusOr<ModelFolder> OpenModelConfig(const std::string& config_dir) {
  OVI_ASSIGN_OR_RETURN(ModelFolder m, ReadConfigs(config_dir, ""));
  const std::string wan = m.weights_dir + "/Wan2.2-TI2V-5B";
  const std::string audio = m.weights_dir + "/MMAudio/ext_weights";
  m.fusion_weights = m.weights_dir + "/Ovi/" + m.spec.weights_file;
  m.text_weights = wan + "/models_t5_umt5-xxl-enc-bf16.safetensors";
  m.tokenizer = wan + "/google/umt5-xxl/spiece.model";
  m.video_vae_weights = wan + "/Wan2.2_VAE.safetensors";
  m.audio_vae_weights = audio + "/v1-16.safetensors";
  m.vocoder_weights = audio + "/best_netG.safetensors";
  return m;
}

absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& config_dir, const std::string& weights_dir) {
  OVI_ASSIGN_OR_RETURN(ModelFolder m, ReadConfigs(config_dir, weights_dir));
  const std::string wan = m.weights_dir + "/Wan2.2-TI2V-5B";
  const std::string audio = m.weights_dir + "/MMAudio/ext_weights";
  OVI_ASSIGN_OR_RETURN(m.fusion_weights,
                       FindWeights(m.weights_dir + "/Ovi", m.spec.weights_file, {""}, "fusion transformer"));
  OVI_ASSIGN_OR_RETURN(m.text_weights, FindWeights(wan, "models_t5_umt5-xxl-enc-bf16",
                                                   {".safetensors", ".pth"}, "text encoder"));
  OVI_ASSIGN_OR_RETURN(m.tokenizer, FindWeights(wan, "google/umt5-xxl/spiece.model", {""}, "tokenizer"));
  OVI_ASSIGN_OR_RETURN(m.video_vae_weights,
                       FindWeights(wan, "Wan2.2_VAE", {".safetensors", ".pth"}, "video autoencoder"));
  OVI_ASSIGN_OR_RETURN(m.audio_vae_weights,
                       FindWeights(audio, "v1-16", {".safetensors", ".pth"}, "audio autoencoder"));
  OVI_ASSIGN_OR_RETURN(m.vocoder_weights,
                       FindWeights(audio, "best_netG", {".safetensors", ".pt", ".pth"}, "vocoder"));
  return m;
}

absl::StatusOr<ModelFolder> FindModel(const ModelLocation& choice, const std::string& models_dir) {
  const auto has_spec = [](const std::string& folder) { return IsFile(folder + "/model_spec.json"); };
  if (!choice.folder.empty()) {
    if (has_spec(choice.folder)) return OpenModelFolder(choice.folder, choice.ckpt_dir);
    const std::string shipped = absl::StrCat(models_dir, "/", choice.folder);
    if (has_spec(shipped)) return OpenModelFolder(shipped, choice.ckpt_dir);
    std::error_code error;
    if (!fs::is_directory(choice.folder + "/Ovi", error)) {
      return absl::NotFoundError(absl::StrCat("model \"", choice.folder,
                                              "\": neither a folder with a model_spec.json or with "
                                              "downloaded weights (Ovi/), nor the name of a model in ",
                                              models_dir));
    }
  }
  const std::string config_dir = absl::StrCat(models_dir, "/", choice.name);
  if (choice.name.empty() || !has_spec(config_dir)) {
    return absl::NotFoundError(absl::StrCat("model_name \"", choice.name, "\": no model of that name in ",
                                            models_dir, " (a folder that OVI_MODELS_DIR can change)"));
  }
  return OpenModelFolder(config_dir, choice.folder.empty() ? choice.ckpt_dir : choice.folder);
}

std::string DefaultModelsDir() {
  const char* variable = std::getenv("OVI_MODELS_DIR");
  if (variable != nullptr && *variable != '\0') return variable;
  const std::string found = FindNearProgram({"configs/models", "share/ovi/models"});
  return found.empty() ? "configs/models" : found;
}

}  // namespace ovi
