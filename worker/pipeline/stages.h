// The stages of a clip over one runtime: encode -> denoise -> decode. Each takes its memory from the arena
// inside a scope of its own and leaves only host data behind, so that no two stages' memory adds up.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/config.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/row_sharding.h"
#include "worker/model/streamed_weights.h"
#include "worker/model/text_encoder.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/progress.h"
#include "worker/pipeline/rank_group.h"

namespace ovi {

// States of the three prompts. The positive one serves both towers, each negative one its own.
struct PromptStates {
  TextStates positive;
  TextStates video_negative;
  TextStates audio_negative;
};

// Host latents, f32 (holding bf16 values as executed): video (C, Lf, Lh, Lw), audio (La, Ca).
struct Latents {
  std::vector<float> video;
  std::vector<float> audio;
};

// Start noise of a clip; depends on nothing but the request.
absl::StatusOr<Latents> MakeNoise(const ClipRequest& clip);

// `image` (3, H, W) in -1..1 -> normalised latent frame (C, 1, H / factor, W / factor).
absl::StatusOr<std::vector<float>> EncodeFirstFrame(const Runtime& runtime, const VideoVaeConfig& config,
                                                    const WeightSource& source, PrecisionPolicy policy,
                                                    std::span<const float> image, FrameSize size,
                                                    const Control& control);

// One network prediction and one solver step, as tests and dumps want to see them. Spans are valid during the
// call.
struct DenoiseObserver {
  std::function<void(int step, bool positive, std::span<const float> video, std::span<const float> audio)>
      on_prediction;
  std::function<void(int step, std::span<const float> video, std::span<const float> audio)> on_step;
};

// The transformer with its weights where the clip's memory layout says, or with fsdp on all `ranks`, which
// then call this together. `shelf` takes the streamed ones; it may be null where none are.
absl::StatusOr<std::unique_ptr<FusionDit>> LoadDit(const Runtime& runtime, const FusionConfig& config,
                                                   const WeightSource& source, const ClipRequest& clip,
                                                   const Control& control,
                                                   std::unique_ptr<UnitShelf> shelf = nullptr,
                                                   RankGroup* ranks = nullptr);

// Runs the denoising loop on `latents` in place. `first_frame` (C, 1, Lh, Lw), empty in text-to-video, is
// written over latent frame 0 before every step and after the last. With `ranks`, all of them call this with
// equal requests, prompts, frames and latents, and get equal results; but a spare rank, which computes
// nothing, keeps its latents as they are.
absl::Status Denoise(const FusionDit& dit, const ClipRequest& clip, const PromptStates& prompts,
                     std::span<const float> first_frame, const Control& control,
                     const DenoiseObserver& observer, Latents& latents, RankGroup* ranks = nullptr);

// Audio latents (La, Ca) -> samples in -1..1.
absl::StatusOr<std::vector<float>> DecodeAudio(const Runtime& runtime, const AudioVaeConfig& vae,
                                               const WeightSource& vae_source, const VocoderConfig& vocoder,
                                               const WeightSource& vocoder_source, PrecisionPolicy policy,
                                               std::span<const float> latents, const Control& control);

// Where decoded frames belong in the clip, in frames and pixel rows.
struct FramePlace {
  std::int64_t frame = 0;
  std::int64_t row = 0;
};
// Decoded frames (F, rows, W, 3) f32 on the device, not clamped, valid during the call: all rows, or those
// of a strip, or those that are dealt to this rank (which are placed at row 0).
using FrameSink = std::function<absl::Status(const Tensor& frames, const FramePlace& place)>;

// How the rows of a picture of so many latent rows are dealt to the ranks. Nothing is without them.
RowSharding RowsOfRanks(RankGroup* ranks, std::int64_t latent_rows);

// Video latents (C, Lf, Lh, Lw) -> frames, one latent frame at a time, and strip by strip: `strips` of them
// from the top, all frames of one before the next. With `rows`, all of its ranks call this, without strips.
absl::Status DecodeVideo(const Runtime& runtime, const VideoVaeConfig& config, const WeightSource& source,
                         PrecisionPolicy policy, const LatentShape& shape, std::span<const float> latents,
                         const Control& control, const FrameSink& sink, int strips = 1,
                         const RowSharding& rows = {});

}  // namespace ovi
