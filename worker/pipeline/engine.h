// The engine of one rank: a clip request in, frames and sound out, stage by stage within one arena.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "worker/model/streamed_weights.h"
#include "worker/model/text/tokenizer.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/pipeline/progress.h"
#include "worker/pipeline/rank_group.h"
#include "worker/pipeline/stages.h"
#include "worker/weights/lora.h"
#include "worker/weights/weight_source.h"

namespace ovi {

struct ClipInfo {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t frames = 0;
  int fps = 24;
  int audio_sample_rate = 16000;
};

// Takes a clip while it is decoded. Sound comes first: it is small, and an encoder wants it from the start.
class ClipSink {
 public:
  virtual ~ClipSink() = default;
  virtual absl::Status Begin(const ClipInfo& info, std::span<const float> audio) = 0;
  // One or more whole frames, row-major, 3 bytes a pixel.
  virtual absl::Status AddFrames(std::span<const std::uint8_t> rgb) = 0;
  virtual absl::Status Finish() = 0;
};

struct StageReport {
  Stage stage = Stage::kEncode;
  double seconds = 0;
  std::int64_t arena_bytes_peak = 0;
  BytesByUse peak_by_use{};  // what that was made of
};

// What a clip may bring along besides its request.
struct ClipInputs {
  std::vector<float> image;        // (3, H, W) in -1..1, image-to-video only
  std::optional<Latents> noise;    // instead of the seed's
  std::vector<LoraAdapter> loras;  // merged into the transformer's weights, in this order
  // The transformer's file, instead of the model's own: for compressed weights (low_rank_weights.h). Of the
  // same tensors. "" for none.
  std::string fusion_weights;
  DenoiseObserver observer;  // may be empty
  // Sees decoded pixels (frames, H, W, 3), not clamped, before they become bytes; on one rank alone. May be
  // null.
  std::function<void(std::span<const float> pixels)> on_pixels;
  // Sees every stage when it has ended, also the one that failed. May be null.
  std::function<void(const StageReport& stage)> on_stage;
  // For plans: every prompt is taken to have so many tokens, and none is read.
  std::optional<std::int64_t> assumed_prompt_tokens;
};

struct ClipReport {
  std::vector<StageReport> stages;  // encode, denoise, decode
  Latents latents;                  // as given to the decoders
};

// How an engine reaches what is on the host.
struct EngineFiles {
  // Reads the model's weight files; OpenWeights without one.
  std::function<absl::StatusOr<std::unique_ptr<WeightSource>>(const std::string& path)> open_weights;
  // Keeps streamed weights, of which `identity` says what they follow from; unit folders (unit_folder.h) in
  // the user's cache without one.
  std::function<std::unique_ptr<UnitShelf>(const std::string& identity)> open_shelf;
};

// Thread-compatible; one clip at a time. Borrows the backend. Keeps its arena and the tokenizer from clip to
// clip.
class Engine {
 public:
  // `arena_bytes_max`: all the device memory a clip may use.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(Backend& backend, std::int64_t arena_bytes_max,
                                                        ModelFolder model, EngineFiles files = {});

  // INVALID_ARGUMENT for unusable text or weights, RESOURCE_EXHAUSTED when a stage does not fit, CANCELLED on
  // request, whatever the sink returns, and UNAVAILABLE when a rank is lost. Nothing of a failed clip stays
  // in the arena.
  //
  // With `ranks`, this is the leader, and each of the others calls Assist with the same clip.
  absl::StatusOr<ClipReport> Generate(const ClipRequest& clip, const ClipInputs& inputs,
                                      const Control& control, ClipSink& sink, RankGroup* ranks = nullptr);

  // Of `inputs`, noise, loras and fusion_weights must be the leader's and the image is not looked at. Errors
  // alike.
  absl::StatusOr<ClipReport> Assist(const ClipRequest& clip, const ClipInputs& inputs, const Control& control,
                                    RankGroup& ranks);

  const ModelFolder& model() const { return model_; }

 private:
  Engine(Backend& backend, ModelFolder model, EngineFiles files)
      : backend_(backend), model_(std::move(model)), files_(std::move(files)) {}

  // Runs `body` and notes its seconds and the arena's peak meanwhile.
  template <typename Body>
  absl::Status Measured(Stage stage, const ClipInputs& inputs, ClipReport& report, const Body& body);
  // `sink` on the leader only.
  absl::StatusOr<ClipReport> MakeClip(const ClipRequest& clip, const ClipInputs& inputs,
                                      const Control& control, ClipSink* sink, RankGroup* ranks);
  absl::Status Encode(const Runtime& runtime, const ClipRequest& clip, const ClipInputs& inputs,
                      const Control& control, PromptStates& prompts, std::vector<float>& first_frame);
  absl::StatusOr<PromptStates> EncodePrompts(const Runtime& runtime, const ClipRequest& clip,
                                             const ClipInputs& inputs, const Control& control);
  absl::StatusOr<std::vector<std::vector<std::int32_t>>> Tokenize(const ClipRequest& clip);
  // `latents` are set to the noise, then denoised.
  absl::Status DenoiseClip(const Runtime& runtime, const ClipRequest& clip, const PromptStates& prompts,
                           std::span<const float> first_frame, const ClipInputs& inputs,
                           const Control& control, RankGroup* ranks, Latents& latents) const;
  // The sound, and the clip's measures.
  absl::Status BeginClip(const Runtime& runtime, const ClipRequest& clip, const Latents& latents,
                         const Control& control, ClipSink& sink) const;
  absl::Status Decode(const Runtime& runtime, const ClipRequest& clip, const ClipInputs& inputs,
                      const Latents& latents, const Control& control, ClipSink* sink, RankGroup* ranks) const;

  Backend& backend_;
  ModelFolder model_;
  EngineFiles files_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Tokenizer> tokenizer_;  // read at the first clip
};

}  // namespace ovi
