#include "tests/golden/configs.h"

#include <utility>

#include "base/status.h"
#include "tests/model/compressed_weights.h"

namespace ovi::golden {

absl::StatusOr<FusionConfig> FusionConfigOf(const Set& set) {
  FusionConfig config;
  OVI_ASSIGN_OR_RETURN(const std::string video, set.Config("video_dit"));
  OVI_ASSIGN_OR_RETURN(const std::string audio, set.Config("audio_dit"));
  OVI_ASSIGN_OR_RETURN(config.video, ParseTowerConfig(video, "configs.video_dit"));
  OVI_ASSIGN_OR_RETURN(config.audio, ParseTowerConfig(audio, "configs.audio_dit"));
  return config;
}

absl::StatusOr<TextConfig> TextConfigOf(const Set& set) {
  OVI_ASSIGN_OR_RETURN(const std::string text, set.Config("t5"));
  return ParseTextConfig(text, "configs.t5");
}

absl::StatusOr<VideoVaeConfig> VideoVaeConfigOf(const Set& set) {
  OVI_ASSIGN_OR_RETURN(const std::string text, set.Config("video_vae"));
  OVI_ASSIGN_OR_RETURN(VideoVaeConfig config, ParseVideoVaeConfig(text, "configs.video_vae"));
  OVI_ASSIGN_OR_RETURN(const Reference mean, set.Tensor("video_vae.scale_mean"));
  OVI_ASSIGN_OR_RETURN(const Reference std, set.Tensor("video_vae.scale_std"));
  config.mean = mean.values;
  config.std = std.values;
  return config;
}

absl::StatusOr<AudioVaeConfig> AudioVaeConfigOf(const Set& set) {
  OVI_ASSIGN_OR_RETURN(const std::string text, set.Config("audio_vae"));
  return ParseAudioVaeConfig(text, "configs.audio_vae");
}

absl::StatusOr<VocoderConfig> VocoderConfigOf(const Set& set) {
  OVI_ASSIGN_OR_RETURN(const std::string text, set.Config("vocoder"));
  return ParseVocoderConfig(text, "configs.vocoder");
}

absl::StatusOr<std::unique_ptr<FusionDit>> LoadDit(const Context& context) {
  OVI_ASSIGN_OR_RETURN(const FusionConfig config, FusionConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_dit"));
  const auto check = [] { return absl::OkStatus(); };
  NumberFormat format = Bf16NetworkFormat(context.policy);
  if (context.policy == PrecisionPolicy::kAsExecuted) format.block_matrices = context.block_matrices;
  std::optional<CompressedWeights> compressed;
  if (format.block_matrices.low_rank > 0) compressed.emplace(*weights, format.block_matrices.low_rank);
  OVI_ASSIGN_OR_RETURN(
      std::unique_ptr<FusionWeights> resident,
      LoadResidentWeights(context.runtime, config,
                          compressed ? static_cast<const WeightSource&>(*compressed) : *weights, format,
                          check));
  return std::make_unique<FusionDit>(context.runtime, config, context.policy, std::move(resident),
                                     std::nullopt);
}

absl::StatusOr<std::vector<std::vector<std::int32_t>>> TextIds(const Set& set) {
  OVI_ASSIGN_OR_RETURN(const Reference ids, set.Tensor("t5.ids"));
  OVI_ASSIGN_OR_RETURN(const Reference mask, set.Tensor("t5.mask"));
  const std::int64_t columns = ids.shape[1];
  std::vector<std::vector<std::int32_t>> texts(static_cast<std::size_t>(ids.shape[0]));
  for (std::int64_t i = 0; i < ids.shape.elements(); ++i) {
    if (mask.values[static_cast<std::size_t>(i)] == 0.0f) continue;
    texts[static_cast<std::size_t>(i / columns)].push_back(
        static_cast<std::int32_t>(ids.values[static_cast<std::size_t>(i)]));
  }
  return texts;
}

}  // namespace ovi::golden
