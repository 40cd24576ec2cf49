#include "tests/plan/hollow_model.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/check.h"
#include "base/small_file.h"
#include "tests/pipeline/mini_model.h"
#include "worker/model/audio_vae.h"
#include "worker/model/fusion_params.h"
#include "worker/model/text_encoder.h"
#include "worker/model/video_vae_layout.h"
#include "worker/model/vocoder.h"
#include "worker/pipeline/model_folder.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

// A safetensors file of these tensors whose data section is a hole.
void WriteHollow(const fs::path& path, const char* dtype, std::uint64_t element_bytes,
                 const std::vector<TensorSpec>& specs) {
  nlohmann::json header;
  std::uint64_t end = 0;
  for (const TensorSpec& spec : specs) {
    nlohmann::json extents = nlohmann::json::array();
    for (int axis = 0; axis < spec.shape.rank(); ++axis) extents.push_back(spec.shape[axis]);
    const std::uint64_t begin = end;
    end += static_cast<std::uint64_t>(spec.shape.elements()) * element_bytes;
    header[spec.name] = {{"dtype", dtype}, {"shape", extents}, {"data_offsets", {begin, end}}};
  }
  const std::string text = header.dump();
  const std::uint64_t header_bytes = text.size();
  fs::create_directories(path.parent_path());
  {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
    file << text;
    file.close();
    OVI_CHECK(file.good());
  }
  fs::resize_file(path, sizeof(header_bytes) + header_bytes + end);
}

template <typename Config>
Config Read(const std::string& path, absl::StatusOr<Config> (*parse)(std::string_view, std::string_view)) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path, 1 << 20);
  OVI_CHECK(text.ok());
  absl::StatusOr<Config> config = parse(*text, path);
  OVI_CHECK(config.ok());
  return *std::move(config);
}

}  // namespace

void WriteHollowWeights(const std::string& config_dir, const std::string& weights_dir) {
  const fs::path weights(weights_dir);
  const fs::path wan = weights / "Wan2.2-TI2V-5B";
  const fs::path audio = weights / "MMAudio/ext_weights";
  const auto spec = Read<ModelSpec>(config_dir + "/model_spec.json", ParseModelSpec);
  const FusionConfig fusion{
      .video = Read<TowerConfig>(config_dir + "/Ovi/configs/video.json", ParseTowerConfig),
      .audio = Read<TowerConfig>(config_dir + "/Ovi/configs/audio.json", ParseTowerConfig)};
  const auto text = Read<TextConfig>(config_dir + "/Wan2.2-TI2V-5B/t5_config.json", ParseTextConfig);
  const auto video_vae =
      Read<VideoVaeConfig>(config_dir + "/Wan2.2-TI2V-5B/vae_config.json", ParseVideoVaeConfig);
  const auto audio_vae =
      Read<AudioVaeConfig>(config_dir + "/MMAudio/ext_weights/vae_config.json", ParseAudioVaeConfig);
  const auto vocoder =
      Read<VocoderConfig>(config_dir + "/MMAudio/ext_weights/bigvgan_config.json", ParseVocoderConfig);

  WriteHollow(weights / "Ovi" / spec.weights_file, "BF16", 2, FusionTensors(fusion));
  WriteHollow(wan / "models_t5_umt5-xxl-enc-bf16.safetensors", "BF16", 2, TextTensors(text));
  WriteHollow(wan / "Wan2.2_VAE.safetensors", "F32", 4, VideoVaeTensors(video_vae));
  WriteHollow(audio / "v1-16.safetensors", "F32", 4, AudioVaeTensors(audio_vae));
  WriteHollow(audio / "best_netG.safetensors", "F32", 4, VocoderTensors(vocoder, WeightNormNames::kGV));
  fs::create_directories(wan / "google/umt5-xxl");
  fs::copy_file(MiniModel() + "/Wan2.2-TI2V-5B/google/umt5-xxl/spiece.model",
                wan / "google/umt5-xxl/spiece.model");
}

}  // namespace ovi
