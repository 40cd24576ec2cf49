// The fusion transformer's tensors: their names and shapes, and the device parameters made of them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/config.h"
#include "worker/model/params.h"
#include "worker/weights/check_tensors.h"

namespace ovi {

// Hidden width of the audio patch embedding's ConvMLP: two thirds of 4 dim, up to a multiple of 256.
std::int64_t AudioPatchHidden(std::int64_t dim);

// Every tensor of a fusion checkpoint (2073 of them for the real configuration).
std::vector<TensorSpec> FusionTensors(const FusionConfig& config);

// Parameters of one tower's part of a block. Vectors are f32.
struct BlockParams {
  LinearParams self_q, self_k, self_v, self_o;
  Tensor self_norm_q, self_norm_k;
  Tensor norm3_weight, norm3_bias;
  LinearParams cross_q, cross_k, cross_v, cross_o;
  Tensor cross_norm_q, cross_norm_k;
  LinearParams k_fusion, v_fusion;
  Tensor fusion_norm_weight, fusion_norm_bias;
  Tensor norm_k_fusion;
  LinearParams ffn_in, ffn_out;
  Tensor modulation;  // (6 * dim): shift, scale, gate of self-attention, then of the feed-forward
};

// What a tower has outside its blocks.
struct TowerParams {
  LinearParams patch;                                   // video: (dim, in_dim * patch elements)
  ConvParams patch_conv, patch_w1, patch_w2, patch_w3;  // audio
  LinearParams text_in, text_out;
  LinearParams time_in, time_out, time_projection;
  Tensor head_modulation;  // (2 * dim): shift, scale
  LinearParams head;
};

// `tower` is "video_model" or "audio_model".
absl::StatusOr<BlockParams> LoadBlock(ParamLoader& loader, const TowerConfig& config,
                                      const std::string& tower, std::int64_t block);

// What is outside the blocks, in parts that are used at different times.
absl::Status LoadTextEmbedding(ParamLoader& loader, const TowerConfig& config, const std::string& tower,
                               TowerParams& params);
absl::Status LoadTimeEmbedding(ParamLoader& loader, const TowerConfig& config, const std::string& tower,
                               TowerParams& params);
absl::Status LoadVideoPatch(ParamLoader& loader, const TowerConfig& config, const std::string& tower,
                            TowerParams& params);
enum class AudioPatchLayer { kConv, kW1, kW2, kW3 };
absl::Status LoadAudioPatch(ParamLoader& loader, const TowerConfig& config, const std::string& tower,
                            AudioPatchLayer layer, TowerParams& params);
absl::Status LoadHead(ParamLoader& loader, const TowerConfig& config, const std::string& tower,
                      TowerParams& params);

}  // namespace ovi
