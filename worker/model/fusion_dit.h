// The fusion transformer: predicts the velocity of video and audio latents from noise level, text and each
// other.
//
// Lf, Lh, Lw: latent frames, rows, columns of the video; La: audio latents; Lv = Lf * Lh/2 * Lw/2 video
// tokens.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/fusion_block.h"
#include "worker/model/rope_table.h"

namespace ovi {

enum class Tower { kVideo, kAudio };

// Keys and values of one text in every block of one tower. They do not depend on the timestep: made once a
// prompt.
struct TextContext {
  std::vector<KeyValue> blocks;
};

// The geometry of a clip. Latent rows and columns must be multiples of the patch.
struct LatentShape {
  std::int64_t channels = 0;
  std::int64_t frames = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t audio_length = 0;
  std::int64_t audio_channels = 0;

  Shape video() const { return {channels, frames, rows, columns}; }
  Shape audio() const { return {audio_length, audio_channels}; }
};

// Embedded timesteps: e (S, D) and its projection e0 (S, 6 D), in the compute dtype.
struct TimeEmbedding {
  Tensor e, e0;
};

// cos(t f_0..), sin(t f_0..) of every t, in f64: (S, freq_dim). f_j = 10000^(-j / (freq_dim/2)).
std::vector<float> TimeSinusoid(const std::vector<double>& timesteps, std::int64_t freq_dim);

// Weights live in the arena the runtime had at Load. Thread-compatible.
class FusionDit {
 public:
  // Called between blocks; an error ends the pass with it. Cancellation comes in here.
  using Check = std::function<absl::Status()>;
  // Sees both streams after each block pair.
  using Observer = std::function<void(std::int64_t block, const Tensor& video, const Tensor& audio)>;

  static absl::StatusOr<std::unique_ptr<FusionDit>> Load(const Runtime& runtime, const FusionConfig& config,
                                                         const WeightSource& source, PrecisionPolicy policy,
                                                         const Check& check);

  struct Pass {
    double timestep = 0;
    bool first_frame_is_clean = false;  // image-to-video: tokens of frame 0 get timestep 0
    std::int64_t skip_block = -1;       // skip-layer guidance: this block pair is left out; < 0 for none
    const TextContext* video_text = nullptr;
    const TextContext* audio_text = nullptr;
  };

  // video (C, Lf, Lh, Lw) and audio (La, Ca), f32, to their velocities of the same shapes, f32.
  absl::Status Forward(const LatentShape& shape, const Pass& pass, const Tensor& video, const Tensor& audio,
                       const Tensor& video_velocity, const Tensor& audio_velocity, const Check& check,
                       const Observer& observer = nullptr) const;

  // Text states (n, text_dim), f32, n <= text_len, on the host -> what the blocks attend to. Allocated in the
  // arena.
  absl::StatusOr<TextContext> PrepareText(Tower tower, const HostTensor& states) const;

  // The steps of Forward, for tests and for sharded execution.
  absl::StatusOr<Tensor> EmbedText(Tower tower, const HostTensor& states) const;  // (text_len, D)
  absl::StatusOr<TextContext> ContextOf(Tower tower, const Tensor& embedded) const;
  absl::StatusOr<TimeEmbedding> EmbedTime(Tower tower,
                                          const std::vector<double>& timesteps) const;     // S timesteps
  absl::StatusOr<Tensor> PatchVideo(const LatentShape& shape, const Tensor& video) const;  // (Lv, D)
  absl::StatusOr<Tensor> PatchAudio(const Tensor& audio) const;                            // (La, D)
  absl::StatusOr<TowerStream> MakeStream(Tower tower, const Tensor& tokens,
                                         const std::vector<float>& rope) const;
  absl::StatusOr<Tensor> RunHead(Tower tower, const std::vector<RowSegment>& segments, const Tensor& e,
                                 const TowerStream& stream) const;  // (L, out_dim * patch elements)

  const FusionConfig& config() const { return config_; }
  const Runtime& runtime() const { return runtime_; }
  const TowerConfig& tower_config(Tower tower) const {
    return tower == Tower::kVideo ? config_.video : config_.audio;
  }
  const TowerParams& tower_params(Tower tower) const { return tower == Tower::kVideo ? video_ : audio_; }
  const BlockParams& block(Tower tower, std::int64_t index) const {
    return (tower == Tower::kVideo ? video_blocks_ : audio_blocks_)[static_cast<std::size_t>(index)];
  }
  DType compute_dtype() const { return format_.compute; }

 private:
  FusionDit(const Runtime& runtime, const FusionConfig& config, NumberFormat format)
      : runtime_(runtime), config_(config), format_(format) {}

  absl::StatusOr<Tensor> ToCompute(const Tensor& f32, std::string_view what) const;
  absl::Status WriteVideo(const LatentShape& shape, const Tensor& rows, const Tensor& velocity) const;

  Runtime runtime_;
  FusionConfig config_;
  NumberFormat format_;
  TowerParams video_, audio_;
  std::vector<BlockParams> video_blocks_, audio_blocks_;
};

}  // namespace ovi
