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
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/pipeline/progress.h"
#include "worker/pipeline/stages.h"

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

// What a clip may bring along besides its request.
struct ClipInputs {
  std::vector<float> image;      // (3, H, W) in -1..1, image-to-video only
  std::optional<Latents> noise;  // instead of the seed's
  DenoiseObserver observer;      // may be empty
  // Sees decoded pixels (frames, H, W, 3), not clamped, before they become bytes. May be null.
  std::function<void(std::span<const float> pixels)> on_pixels;
};

struct StageReport {
  Stage stage = Stage::kEncode;
  double seconds = 0;
  std::int64_t arena_bytes_peak = 0;
};

struct ClipReport {
  std::vector<StageReport> stages;  // encode, denoise, decode
  Latents latents;                  // as given to the decoders
};

// Thread-compatible; one clip at a time. Borrows the backend.
class Engine {
 public:
  // `arena_bytes_max`: all the device memory a clip may use.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(Backend& backend, std::int64_t arena_bytes_max,
                                                        ModelFolder model);

  // INVALID_ARGUMENT for unusable text or weights, RESOURCE_EXHAUSTED when a stage does not fit, CANCELLED on
  // request, and whatever the sink returns. Nothing of a failed clip stays in the arena.
  absl::StatusOr<ClipReport> Generate(const ClipRequest& clip, const ClipInputs& inputs,
                                      const Control& control, ClipSink& sink);

  const ModelFolder& model() const { return model_; }

 private:
  Engine(Backend& backend, ModelFolder model) : backend_(backend), model_(std::move(model)) {}

  absl::StatusOr<PromptStates> EncodePrompts(const Runtime& runtime, const ClipRequest& clip,
                                             const Control& control) const;
  absl::Status DenoiseClip(const Runtime& runtime, const ClipRequest& clip, const PromptStates& prompts,
                           std::span<const float> first_frame, const ClipInputs& inputs,
                           const Control& control, Latents& latents) const;
  absl::Status Decode(const Runtime& runtime, const ClipRequest& clip, const ClipInputs& inputs,
                      const Latents& latents, const Control& control, ClipSink& sink) const;

  Backend& backend_;
  ModelFolder model_;
  std::unique_ptr<Arena> arena_;
};

}  // namespace ovi
