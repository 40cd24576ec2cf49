// What a video autoencoder's config says about its levels and its checkpoint. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/model/config.h"
#include "worker/parallel/shards.h"
#include "worker/weights/check_tensors.h"

namespace ovi {

// What a half is loaded for. One image is the first frame of a clip: whatever precedes it is zero, so only
// the last time tap of every convolution is loaded and computed, a third of the bytes and of the work.
enum class VideoVaeInput { kImage, kClip };

// One resolution of either half: residual blocks, then (but for the last level) a change of resolution.
struct VideoVaeLevel {
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  bool resamples = false;  // halves (encoder) or doubles (decoder) rows and columns
  bool time = false;       // and the number of frames

  std::int64_t time_factor() const { return time ? 2 : 1; }
  std::int64_t space_factor() const { return resamples ? 2 : 1; }
};

// In the order they run.
std::vector<VideoVaeLevel> VideoVaeEncoderLevels(const VideoVaeConfig& config);
std::vector<VideoVaeLevel> VideoVaeDecoderLevels(const VideoVaeConfig& config);

// Of every level's input, the rows that the pixels of latent rows `strip` follow from, in a picture of `rows`
// latent rows: a 3x3 convolution reads one row more on either side. Pure.
std::vector<ShardRange> VideoVaeDecoderStripRows(const VideoVaeConfig& config, std::int64_t rows,
                                                 const ShardRange& strip);

// INVALID_ARGUMENT when a level's channels do not divide as its parameter-free shortcut needs.
absl::Status CheckVideoVaeConfig(const VideoVaeConfig& config);

// The rows that a rank with two neighbours sends them in a clip of `latent_frames` of `cols` latents a row
// (worker/model/row_sharding.h): f32, of decoding and of encoding.
HaloBytes VideoVaeDecoderHaloBytes(const VideoVaeConfig& config, std::int64_t latent_frames,
                                   std::int64_t cols);
HaloBytes VideoVaeEncoderHaloBytes(const VideoVaeConfig& config, std::int64_t latent_frames,
                                   std::int64_t cols);

// Every tensor of the checkpoint, in its order: encoder, conv1, conv2, decoder.
std::vector<TensorSpec> VideoVaeTensors(const VideoVaeConfig& config);

}  // namespace ovi
