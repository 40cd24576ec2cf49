// The Wan 2.2 video autoencoder: frames to latents and back.
//
// Activations are f32 under both precision policies; kAsExecuted rounds the weights to bf16. Parameters,
// caches and results lie in the Runtime's arena from the call that makes them on: the caller's ArenaScope
// gives them back. Thread-compatible, like the Runtime's stream.
//
// On several ranks (RowSharding) each has all parameters and computes its rows of the picture, except at the
// lowest resolution, where all pixels attend to all: that is computed by all ranks alike. A 3x3 convolution
// gets one row from each neighbour. The ranks begin and run every clip together; what they make has the same
// bits as what one makes. Errors of the communicator are returned, and the other ranks then wait for its
// interruption, as they do after an error on this rank alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/config.h"
#include "worker/model/row_sharding.h"
#include "worker/model/runtime.h"
#include "worker/model/video_vae_blocks.h"
#include "worker/model/video_vae_layout.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// Decodes a clip one latent frame at a time, in memory that does not depend on the clip's length.
//
// Below a latent frame it goes depth first: each resolution gets one frame, and what that becomes is decoded
// to pixels before the next. Any split in time gives the same numbers, since every convolution remembers the
// two frames before; this one needs least memory: the four frames a latent frame becomes never exist side by
// side before they are pixels.
class VideoVaeDecoder {
 public:
  // Decoder half only. INVALID_ARGUMENT and NOT_FOUND name the tensor.
  static absl::StatusOr<std::unique_ptr<VideoVaeDecoder>> Load(const Runtime& runtime,
                                                               const VideoVaeConfig& config,
                                                               const WeightSource& source,
                                                               PrecisionPolicy policy);

  // Begins a clip of latent frames of `rows` x `cols`, of which this rank decodes its part: allocates the
  // convolutions' caches and the result.
  absl::Status Begin(std::int64_t rows, std::int64_t cols, const RowSharding& sharding = {});

  // The same for latent rows in `strip`, on this rank alone, at less memory: the lowest resolution is still
  // made of the whole picture, the others of the strip and of the rows around it that its pixels follow from.
  // Strips of a picture give the bits that the picture decoded at once has.
  absl::Status BeginStrip(std::int64_t rows, std::int64_t cols, const ShardRange& strip);

  // `latent_frame` (rows, cols, z_dim) f32, normalised, whole on every rank. Returns its frames, 1 for the
  // first and temporal_factor() for every later one: (frames, 16 * this rank's rows, 16 * cols, 3) f32, not
  // clamped to -1..1, valid until the next call. `between_blocks` (may be null) is called often enough to
  // cancel by: its error is returned. A rank without rows computes nothing and does not call it. After an
  // error the clip is lost: Begin another.
  absl::StatusOr<Tensor> DecodeNext(const Tensor& latent_frame,
                                    const std::function<absl::Status()>& between_blocks);

 private:
  struct Level {
    VideoVaeLevel layout;
    video_vae::ResidualChain residuals;
    ConvParams resample;              // 3x3, after nearest enlargement
    ConvParams time_even, time_odd;   // 3x1x1: the first and the second frame that a frame becomes
    video_vae::FrameHistory history;  // of both, and without the clip's first frame
    ShardRange rows;                  // of its input, those that are computed
  };

  VideoVaeDecoder(const Runtime& runtime, const VideoVaeConfig& config)
      : runtime_(runtime), config_(config) {}

  absl::Status LoadLevel(ParamLoader& loader, std::size_t index, const VideoVaeLevel& layout);
  // Once the rows of every level and of the result are known.
  absl::Status AllocateClip(std::int64_t cols);
  // Decodes the one frame `x` from level `index` on, and appends its frames to the result.
  absl::Status DecodeFrom(std::size_t index, const Tensor& x, const BetweenBlocks& between);
  absl::Status Enlarge(const Level& level, const Tensor& x, const Tensor& out);
  absl::Status Finish(const Tensor& x);

  Runtime runtime_;
  VideoVaeConfig config_;
  Tensor mean_, std_;  // (z_dim)
  LinearParams latent_in_;
  video_vae::CausalConv conv_in_;
  video_vae::MiddleBlock middle_;
  std::vector<Level> levels_;
  video_vae::NormConv head_;

  std::int64_t rows_ = 0;  // of the whole latent frame
  std::int64_t cols_ = 0;
  ShardRange own_rows_;  // of the latent rows, those whose pixels are made
  RowHalo halo_;
  Tensor result_;                   // (temporal_factor, 16 * own rows, 16 * cols, 3)
  std::int64_t result_frames_ = 0;  // of it, written by this call
  std::int64_t latent_frames_ = 0;  // decoded since Begin
};

class VideoVaeEncoder {
 public:
  // Encoder half only; with kImage, what one frame needs of it. INVALID_ARGUMENT and NOT_FOUND name the
  // tensor.
  static absl::StatusOr<std::unique_ptr<VideoVaeEncoder>> Load(const Runtime& runtime,
                                                               const VideoVaeConfig& config,
                                                               const WeightSource& source,
                                                               PrecisionPolicy policy, VideoVaeInput input);

  // `frames` (F, H, W, 3) f32 in -1..1, with H and W multiples of spatial_factor() and F = 1 + k *
  // temporal_factor(); F = 1 with kImage. INVALID_ARGUMENT otherwise. Returns the mean of the latents,
  // normalised: (1 + k, h, w, z_dim). Frames and latents are whole on every rank.
  absl::StatusOr<Tensor> Encode(const Tensor& frames, const std::function<absl::Status()>& between_blocks,
                                const RowSharding& sharding = {});

 private:
  struct Level {
    VideoVaeLevel layout;
    video_vae::ResidualChain residuals;
    ConvParams resample;              // 3x3, stride 2
    ConvParams time;                  // 3x1x1, stride 2
    video_vae::FrameHistory history;  // of `time`: one frame
  };

  VideoVaeEncoder(const Runtime& runtime, const VideoVaeConfig& config, VideoVaeInput input)
      : runtime_(runtime), config_(config), input_(input) {}

  absl::Status LoadLevel(ParamLoader& loader, std::size_t index, const VideoVaeLevel& layout);
  absl::Status CheckFrames(const Shape& frames) const;
  // For a picture of so many latents.
  absl::Status Begin(std::int64_t rows, std::int64_t cols, const RowSharding& sharding);
  // A chunk: the clip's first frame or the next temporal_factor() frames, to one latent frame.
  absl::Status EncodeChunk(const Tensor& frames, bool first, const Tensor& latent,
                           const BetweenBlocks& between);
  // All levels on this rank's rows of a chunk: (1, own rows, cols, C), in the caller's ArenaScope.
  absl::StatusOr<Tensor> RunLevels(const Tensor& frames, bool first, const BetweenBlocks& between);
  // All ranks' rows, in the caller's ArenaScope.
  absl::StatusOr<Tensor> WholeFrame(const Tensor& x);
  // Runs a level on `x` and returns its result, in the caller's ArenaScope.
  absl::StatusOr<Tensor> RunLevel(const Level& level, const Tensor& x, bool first,
                                  const BetweenBlocks& between);
  absl::Status Shrink(const Level& level, const Tensor& x, bool first, const Tensor& out);

  Runtime runtime_;
  VideoVaeConfig config_;
  VideoVaeInput input_;
  Tensor mean_, inverse_std_;  // (z_dim)
  video_vae::CausalConv conv_in_;
  std::vector<Level> levels_;
  video_vae::MiddleBlock middle_;
  video_vae::NormConv head_;
  LinearParams mean_out_;  // of conv1, the rows of the mean; the variance is not used

  RowSharding sharding_;
  std::int64_t rows_ = 0;  // of the whole latent frame
  ShardRange own_rows_;
  RowHalo halo_;
  RowHalo halving_halo_;  // of the convolutions with stride 2
};

}  // namespace ovi
