#include "worker/model/config.h"

#include <initializer_list>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/model/json_reader.h"

namespace ovi {

std::int64_t VideoVaeConfig::spatial_factor() const {
  return patch << (dim_mult.size() - 1);  // every level but the last halves rows and columns
}

std::int64_t VideoVaeConfig::temporal_factor() const {
  std::int64_t factor = 1;
  for (const bool down : temporal_downsample) factor *= down ? 2 : 1;
  return factor;
}

std::int64_t VocoderConfig::hop() const {
  return std::accumulate(upsample_rates.begin(), upsample_rates.end(), std::int64_t{1}, std::multiplies<>());
}

absl::StatusOr<TowerConfig> ParseTowerConfig(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  TowerConfig config;
  reader.Int({"dim"}, 1, 1 << 16, &config.dim);
  reader.Int({"ffn_dim"}, 1, 1 << 18, &config.ffn_dim);
  reader.Int({"freq_dim"}, 2, 1 << 16, &config.freq_dim);
  reader.Int({"num_heads"}, 1, 1024, &config.heads);
  reader.Int({"num_layers"}, 1, 1024, &config.layers);
  reader.Int({"text_len"}, 1, 1 << 16, &config.text_len);
  reader.Int({"text_dim"}, 1, 1 << 16, &config.text_dim);
  reader.Int({"in_dim"}, 1, 1 << 12, &config.in_dim);
  reader.Int({"out_dim"}, 1, 1 << 12, &config.out_dim);
  reader.Ints({"patch_size"}, 1, 64, &config.patch);
  reader.OptionalNumber({"temporal_rope_scaling_factor"}, 1e-6, 1e6, &config.temporal_rope_scaling);
  reader.OptionalNumber({"eps"}, 0, 1, &config.eps);
  reader.RequireTrue({"qk_norm"});
  reader.RequireTrue({"cross_attn_norm"});
  OVI_RETURN_IF_ERROR(reader.status());
  if (config.dim % config.heads != 0 || config.head_dim() % 2 != 0) {
    return reader.Error("num_heads", "must divide dim into heads of an even size");
  }
  if (config.patch.size() != 1 && config.patch.size() != 3)
    return reader.Error("patch_size", "must have 1 or 3 entries");
  if (config.freq_dim % 2 != 0) return reader.Error("freq_dim", "must be even");
  if (config.patch.size() == 1 && config.patch[0] != 1)
    return reader.Error("patch_size", "of an audio tower must be [1]");
  if (config.is_video() && config.patch[0] != 1) return reader.Error("patch_size", "must not span frames");
  return config;
}

absl::StatusOr<TextConfig> ParseTextConfig(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  TextConfig config;
  reader.Int({"vocab_size", "vocab"}, 1, 1 << 24, &config.vocab);
  reader.Int({"dim"}, 1, 1 << 16, &config.dim);
  reader.Int({"dim_attn"}, 1, 1 << 16, &config.dim_attn);
  reader.Int({"dim_ffn"}, 1, 1 << 18, &config.dim_ffn);
  reader.Int({"num_heads"}, 1, 1024, &config.heads);
  reader.Int({"encoder_layers", "num_layers"}, 1, 1024, &config.layers);
  reader.Int({"num_buckets"}, 4, 1 << 12, &config.buckets);
  reader.Int({"max_dist", "max_distance"}, 1, 1 << 20, &config.max_distance);
  reader.Int({"text_len"}, 1, 1 << 16, &config.text_len);
  reader.OptionalNumber({"norm_eps", "eps"}, 0, 1, &config.eps);
  reader.RequireFalse({"shared_pos"});
  OVI_RETURN_IF_ERROR(reader.status());
  if (config.dim_attn % config.heads != 0) return reader.Error("num_heads", "must divide dim_attn");
  if (config.buckets % 4 != 0) return reader.Error("num_buckets", "must be a multiple of 4");
  if (config.max_distance <= config.buckets / 4)
    return reader.Error("max_dist", "must exceed num_buckets / 4");
  return config;
}

absl::StatusOr<VideoVaeConfig> ParseVideoVaeConfig(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  VideoVaeConfig config;
  reader.Int({"z_dim"}, 1, 1 << 12, &config.z_dim);
  reader.Int({"dim", "encoder_dim"}, 1, 1 << 14, &config.encoder_dim);
  reader.Int({"dec_dim", "decoder_dim"}, 1, 1 << 14, &config.decoder_dim);
  reader.Ints({"dim_mult"}, 1, 64, &config.dim_mult);
  reader.Int({"num_res_blocks"}, 1, 64, &config.res_blocks);
  reader.Bools({"temperal_downsample", "temporal_downsample"}, &config.temporal_downsample);
  reader.OptionalInt({"patch_size", "patch"}, 2, 2, &config.patch);
  reader.OptionalFloats({"mean"}, &config.mean);
  reader.OptionalFloats({"std"}, &config.std);
  OVI_RETURN_IF_ERROR(reader.status());
  if (config.dim_mult.size() < 2 || config.dim_mult.size() > 8)
    return reader.Error("dim_mult", "must have 2 to 8 entries");
  if (config.temporal_downsample.size() + 1 != config.dim_mult.size()) {
    return reader.Error("temperal_downsample", "must have one entry fewer than dim_mult");
  }
  const std::size_t channels = static_cast<std::size_t>(config.z_dim);
  if (config.mean.empty()) config.mean.assign(channels, 0.0f);
  if (config.std.empty()) config.std.assign(channels, 1.0f);
  if (config.mean.size() != channels) return reader.Error("mean", "must have z_dim entries");
  if (config.std.size() != channels) return reader.Error("std", "must have z_dim entries");
  for (const float value : config.std) {
    if (!(value > 0)) return reader.Error("std", "must be positive");
  }
  return config;
}

absl::StatusOr<AudioVaeConfig> ParseAudioVaeConfig(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  AudioVaeConfig config;
  reader.Int({"data_dim"}, 1, 1 << 12, &config.mel_bins);
  reader.Int({"embed_dim"}, 1, 1 << 12, &config.embed_dim);
  reader.Int({"hidden_dim"}, 1, 1 << 14, &config.hidden_dim);
  reader.Ints({"ch_mult"}, 1, 64, &config.ch_mult);
  reader.Int({"num_res_blocks"}, 1, 64, &config.res_blocks);
  reader.Ints({"down_layers"}, 0, 16, &config.down_layers);
  OVI_RETURN_IF_ERROR(reader.status());
  if (config.ch_mult.empty()) return reader.Error("ch_mult", "must not be empty");
  for (const std::int64_t level : config.down_layers) {
    if (level + 1 >= static_cast<std::int64_t>(config.ch_mult.size())) {
      return reader.Error("down_layers", "names a level that ch_mult does not have below another");
    }
  }
  return config;
}

absl::StatusOr<VocoderConfig> ParseVocoderConfig(std::string_view json, std::string_view name) {
  OVI_ASSIGN_OR_RETURN(JsonReader reader, JsonReader::Parse(json, name));
  VocoderConfig config;
  reader.Int({"num_mels"}, 1, 1 << 12, &config.mel_bins);
  reader.Int({"upsample_initial_channel"}, 1, 1 << 14, &config.initial_channels);
  reader.Ints({"upsample_rates"}, 1, 64, &config.upsample_rates);
  reader.Ints({"upsample_kernel_sizes"}, 1, 256, &config.upsample_kernels);
  reader.Ints({"resblock_kernel_sizes"}, 1, 255, &config.resblock_kernels);
  reader.IntLists({"resblock_dilation_sizes"}, 1, 1024, &config.resblock_dilations);
  OVI_RETURN_IF_ERROR(reader.status());
  if (config.upsample_rates.empty() || config.upsample_rates.size() != config.upsample_kernels.size()) {
    return reader.Error("upsample_kernel_sizes", "must have one entry for each of upsample_rates");
  }
  if (config.resblock_kernels.empty() || config.resblock_kernels.size() != config.resblock_dilations.size()) {
    return reader.Error("resblock_dilation_sizes", "must have one list for each of resblock_kernel_sizes");
  }
  if (config.initial_channels >> config.upsample_rates.size() < 1) {
    return reader.Error("upsample_initial_channel", "is too small to be halved at every upsampling");
  }
  for (std::size_t i = 0; i < config.upsample_rates.size(); ++i) {
    const std::int64_t spare = config.upsample_kernels[i] - config.upsample_rates[i];
    if (spare < 0 || spare % 2 != 0)
      return reader.Error("upsample_kernel_sizes", "must exceed the rate by an even number");
  }
  for (const std::int64_t kernel : config.resblock_kernels) {
    if (kernel % 2 == 0) return reader.Error("resblock_kernel_sizes", "must be odd");
  }
  return config;
}

absl::Status CheckFusionConfig(const FusionConfig& config) {
  if (!config.video.is_video() || config.audio.is_video()) {
    return absl::InvalidArgumentError(
        "fusion config: the video tower needs a 3-entry patch_size and the audio tower a 1-entry one");
  }
  if (config.video.layers != config.audio.layers || config.video.heads != config.audio.heads ||
      config.video.dim != config.audio.dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("fusion config: the towers must have equal dim, heads and layers, got video ",
                     config.video.dim, "/", config.video.heads, "/", config.video.layers, " and audio ",
                     config.audio.dim, "/", config.audio.heads, "/", config.audio.layers));
  }
  return absl::OkStatus();
}

}  // namespace ovi
