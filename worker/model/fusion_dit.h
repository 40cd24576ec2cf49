// The fusion transformer: predicts the velocity of video and audio latents from noise level, text and each
// other.
//
// Lf, Lh, Lw: latent frames, rows, columns of the video; La: audio latents; Lv = Lf * Lh/2 * Lw/2 video
// tokens.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/fusion_block.h"
#include "worker/model/fusion_weights.h"
#include "worker/model/rope_table.h"
#include "worker/model/sequence_parallel.h"

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

// Thread-compatible. Where ranks share a video or the weights, all of them make the same calls.
class FusionDit {
 public:
  // Called between blocks; an error ends the pass with it. Cancellation comes in here.
  using Check = std::function<absl::Status()>;
  // Sees both streams of pass number `pass` after each block pair; of the video, this rank's tokens.
  using Observer =
      std::function<void(std::size_t pass, std::int64_t block, const Tensor& video, const Tensor& audio)>;

  // With all weights in the arena the runtime has.
  static absl::StatusOr<std::unique_ptr<FusionDit>> Load(const Runtime& runtime, const FusionConfig& config,
                                                         const WeightSource& source, PrecisionPolicy policy,
                                                         const Check& check);
  // With weights from elsewhere, and perhaps with ranks to share the video's tokens with.
  FusionDit(const Runtime& runtime, const FusionConfig& config, PrecisionPolicy policy,
            std::unique_ptr<FusionWeights> weights, std::optional<SequenceParallel> ranks);

  // One evaluation of the network, for one or more prompts at once.
  struct Step {
    double timestep = 0;
    bool first_frame_is_clean = false;  // image-to-video: tokens of frame 0 get timestep 0
  };
  struct Pass {
    std::int64_t skip_block = -1;  // skip-layer guidance: this block pair is left out; < 0 for none
    const TextContext* video_text = nullptr;
    const TextContext* audio_text = nullptr;
  };
  struct Velocity {
    Tensor video, audio;
  };

  // video (C, Lf, Lh, Lw) and audio (La, Ca), f32, to the velocities of each pass, of the same shapes, f32.
  // The passes go through each block pair together, so that weights which come and go do so once a step.
  // Without passes, a rank only takes its part in that.
  absl::Status Forward(const LatentShape& shape, const Step& step, std::span<const Pass> passes,
                       const Tensor& video, const Tensor& audio, std::span<const Velocity> velocities,
                       const Check& check, const Observer& observer = nullptr) const;

  // Text states (n, text_dim), f32, n <= text_len, on the host -> what the blocks attend to. Allocated in the
  // arena.
  struct TextRequest {
    Tower tower = Tower::kVideo;
    HostTensor states;
  };
  absl::StatusOr<std::vector<TextContext>> PrepareTexts(std::span<const TextRequest> requests) const;
  absl::StatusOr<TextContext> PrepareText(Tower tower, const HostTensor& states) const;

  // The steps of Forward, for tests. `params` are those of the step's unit, which a walk gives.
  FusionWalk Walk(std::vector<FusionUnit> units) const { return {*weights_, std::move(units)}; }
  absl::StatusOr<Tensor> EmbedText(const FusionParams& params, Tower tower,
                                   const HostTensor& states) const;  // (text_len, D)
  absl::StatusOr<TimeEmbedding> EmbedTime(const FusionParams& params, Tower tower,
                                          const std::vector<double>& timesteps) const;  // S timesteps
  // Of the tokens in `range`: (its size, D).
  absl::StatusOr<Tensor> PatchVideo(const FusionParams& params, const LatentShape& shape,
                                    const ShardRange& range, const Tensor& video) const;
  // (La, D). Takes the three units after the entry, whose parameters are `entry`.
  absl::StatusOr<Tensor> PatchAudio(FusionWalk& walk, const FusionParams& entry, const Tensor& audio) const;
  absl::StatusOr<TowerStream> MakeStream(Tower tower, const Tensor& tokens,
                                         std::span<const float> rope) const;
  absl::StatusOr<Tensor> RunHead(const FusionParams& params, Tower tower,
                                 const std::vector<RowSegment>& segments, const Tensor& e,
                                 const TowerStream& stream) const;  // (L, out_dim * patch elements)

  const FusionConfig& config() const { return config_; }
  const Runtime& runtime() const { return runtime_; }
  const TowerConfig& tower_config(Tower tower) const {
    return tower == Tower::kVideo ? config_.video : config_.audio;
  }
  DType compute_dtype() const { return format_.compute; }

 private:
  struct Entry;  // what the blocks and the head take from the front of the network
  struct Lane;   // one pass on its way

  VideoGrid GridOf(const LatentShape& shape) const;
  absl::StatusOr<Tensor> ToCompute(const Tensor& f32, std::string_view what) const;
  absl::StatusOr<Entry> Enter(FusionWalk& walk, const LatentShape& shape, const Step& step,
                              const Tensor& video, const Tensor& audio, const SequenceShard* shard) const;
  absl::StatusOr<std::vector<Lane>> MakeLanes(const Entry& entry, std::span<const Pass> passes) const;
  absl::Status RunBlocks(FusionWalk& walk, const Entry& entry, std::vector<Lane>& lanes, const Check& check,
                         const Observer& observer) const;
  absl::Status Leave(const FusionParams& params, const LatentShape& shape, const Entry& entry,
                     const Lane& lane, const Velocity& velocity) const;
  absl::Status PassBy(FusionWalk& walk, const Check& check) const;
  absl::Status WriteVideo(const LatentShape& shape, const Tensor& rows, const Tensor& velocity) const;

  Runtime runtime_;
  FusionConfig config_;
  NumberFormat format_;
  std::unique_ptr<FusionWeights> weights_;
  std::optional<SequenceParallel> ranks_;
};

}  // namespace ovi
