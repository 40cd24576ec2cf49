// A model on disk: its spec and network configurations (JSON, small) and where its weights are (the files the
// original downloads, or the same as safetensors). Opening one reads no weights.
//
//   <config dir>/model_spec.json, Ovi/configs/{video,audio}.json, Wan2.2-TI2V-5B/{t5_config,vae_config}.json,
//                MMAudio/ext_weights/{bigvgan_config,vae_config}.json
//   <weights dir>/Ovi/<spec.path>, Wan2.2-TI2V-5B/{models_t5_umt5-xxl-enc-bf16,Wan2.2_VAE}.{safetensors,pth},
//                Wan2.2-TI2V-5B/google/umt5-xxl/spiece.model, MMAudio/ext_weights/{v1-16.pth,best_netG.pt or
//                .safetensors}
// Both folders may be one, as in configs/models/mini-ovi.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/model/config.h"
#include "worker/pipeline/math/prompt_format.h"
#include "worker/pipeline/math/schedule.h"

namespace ovi {

// What a job leaves out is taken from here.
struct ModelDefaults {
  int sample_steps = 50;
  double shift = 5.0;
  double video_guidance_scale = 4.0;
  double audio_guidance_scale = 3.0;
  int slg_layer = 11;
  SolverKind solver = SolverKind::kUniPc;
  std::string video_negative_prompt;
  std::string audio_negative_prompt;
  std::uint64_t seed = 103;
};

struct ModelSpec {
  std::string name;
  std::string weights_file;  // under Ovi/
  PromptStyle prompt_style = PromptStyle::kAudioColon;
  std::int64_t video_area = 0;  // pixels a frame is scaled to
  int default_height = 0;
  int default_width = 0;
  std::int64_t video_latent_frames = 0;
  std::int64_t audio_latent_length = 0;
  int fps = 24;
  int audio_sample_rate = 16000;
  ModelDefaults defaults;
};

struct ModelFolder {
  std::string config_dir;
  std::string weights_dir;
  ModelSpec spec;
  FusionConfig fusion;
  TextConfig text;
  VideoVaeConfig video_vae;
  AudioVaeConfig audio_vae;
  VocoderConfig vocoder;

  std::string fusion_weights, text_weights, video_vae_weights, audio_vae_weights, vocoder_weights, tokenizer;

  std::int64_t frames() const;         // of a clip
  std::int64_t audio_samples() const;  // of a clip
};

absl::StatusOr<ModelSpec> ParseModelSpec(std::string_view json, std::string_view name);

// NOT_FOUND names the first file that is missing and what it is; INVALID_ARGUMENT the JSON field that is
// wrong.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::string& config_dir, const std::string& weights_dir);

// The configuration alone, for plans: the weight files are named as they would be, and need not be there.
absl::StatusOr<ModelFolder> OpenModelConfig(const std::string& config_dir);

// What a user says about the model: `folder` from a command line, `name` and `ckpt_dir` from a job. Each may
// be "".
struct ModelLocation {
  std::string folder;
  std::string name;
  std::string ckpt_dir;
};

// `folder` may be a whole model (it has a model_spec.json), the name of one under `models_dir`, or a folder
// of downloaded weights (it has Ovi/), whose configuration is then that of `name`. Without `folder`, `name`
// is looked up under `models_dir` and its weights in `ckpt_dir`, or beside the configuration.
absl::StatusOr<ModelFolder> FindModel(const ModelLocation& choice, const std::string& models_dir);

// Where the models that come with the program are: $OVI_MODELS_DIR, else configs/models or share/ovi/models
// beside the program or in a folder above it, else ./configs/models.
std::string DefaultModelsDir();

}  // namespace ovi
