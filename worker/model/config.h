// Dimensions of the five networks, read from the JSON files beside the weights. Nothing here is hard-coded
// for one model.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ovi {

// One tower of the fusion transformer (Ovi/configs/video.json, audio.json).
struct TowerConfig {
  std::int64_t dim = 0;
  std::int64_t ffn_dim = 0;
  std::int64_t freq_dim = 0;  // width of the sinusoidal time embedding
  std::int64_t heads = 0;
  std::int64_t layers = 0;
  std::int64_t text_len = 0;  // rows the text states are padded to
  std::int64_t text_dim = 0;
  std::int64_t in_dim = 0;  // latent channels
  std::int64_t out_dim = 0;
  std::vector<std::int64_t> patch;     // (1, 2, 2) for video, (1) for audio
  double temporal_rope_scaling = 1.0;  // audio positions are stretched to the video's clock
  double eps = 1e-6;
  std::int64_t head_dim() const { return dim / heads; }
  bool is_video() const { return patch.size() == 3; }
};

struct FusionConfig {
  TowerConfig video;
  TowerConfig audio;
};

// umT5 encoder (t5_config.json).
struct TextConfig {
  std::int64_t vocab = 0;
  std::int64_t dim = 0;
  std::int64_t dim_attn = 0;
  std::int64_t dim_ffn = 0;
  std::int64_t heads = 0;
  std::int64_t layers = 0;
  std::int64_t buckets = 32;
  std::int64_t max_distance = 128;
  std::int64_t text_len = 512;
  double eps = 1e-6;
};

// Wan 2.2 video autoencoder (vae_config.json).
struct VideoVaeConfig {
  std::int64_t z_dim = 0;
  std::int64_t encoder_dim = 0;
  std::int64_t decoder_dim = 0;
  std::vector<std::int64_t> dim_mult;
  std::int64_t res_blocks = 0;
  std::vector<bool> temporal_downsample;  // one a level but the last
  std::int64_t patch = 2;
  std::vector<float> mean;  // (z_dim), of the latents
  std::vector<float> std;

  std::int64_t spatial_factor() const;   // pixels a latent, along one axis
  std::int64_t temporal_factor() const;  // frames a latent frame, after the first
};

// MMAudio 16 kHz autoencoder of mel spectrograms (MMAudio/ext_weights/vae_config.json).
struct AudioVaeConfig {
  std::int64_t mel_bins = 0;
  std::int64_t embed_dim = 0;
  std::int64_t hidden_dim = 0;
  std::vector<std::int64_t> ch_mult;
  std::int64_t res_blocks = 0;
  std::vector<std::int64_t> down_layers;  // levels that halve the length
};

// BigVGAN vocoder (MMAudio/ext_weights/bigvgan_config.json).
struct VocoderConfig {
  std::int64_t mel_bins = 0;
  std::int64_t initial_channels = 0;
  std::vector<std::int64_t> upsample_rates;
  std::vector<std::int64_t> upsample_kernels;
  std::vector<std::int64_t> resblock_kernels;
  std::vector<std::vector<std::int64_t>> resblock_dilations;  // three a block

  std::int64_t hop() const;  // samples a mel frame
};

// Parsers. `name` is the file in the error; INVALID_ARGUMENT names the field that is missing, of another type
// or out of range.
absl::StatusOr<TowerConfig> ParseTowerConfig(std::string_view json, std::string_view name);
absl::StatusOr<TextConfig> ParseTextConfig(std::string_view json, std::string_view name);
absl::StatusOr<VideoVaeConfig> ParseVideoVaeConfig(std::string_view json, std::string_view name);
absl::StatusOr<AudioVaeConfig> ParseAudioVaeConfig(std::string_view json, std::string_view name);
absl::StatusOr<VocoderConfig> ParseVocoderConfig(std::string_view json, std::string_view name);

// The two towers must agree: same depth and head size, since each attends to the other.
absl::Status CheckFusionConfig(const FusionConfig& config);

}  // namespace ovi
