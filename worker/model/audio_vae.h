// Autoencoder between audio latents and mel spectrograms (MMAudio's 16 kHz model). Sequences are
// channels-last.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/audio_vae_blocks.h"
#include "worker/model/config.h"
#include "worker/model/runtime.h"
#include "worker/model/sequence_ops.h"
#include "worker/weights/check_tensors.h"

namespace ovi {

// Every tensor of the checkpoint (v1-16.pth), encoder and statistics included.
std::vector<TensorSpec> AudioVaeTensors(const AudioVaeConfig& config);

// Both halves: weights and statistics stay in the arena for as long as the caller keeps them there. A failed
// Load leaves its allocations to the caller's ArenaScope. INVALID_ARGUMENT names tensors that are missing,
// too many or of another shape; RESOURCE_EXHAUSTED when weights or activations do not fit. Results are in the
// network's number format (bf16 as executed). Thread-compatible; borrow the runtime.

class AudioVaeDecoder {
 public:
  static absl::StatusOr<AudioVaeDecoder> Load(const Runtime& runtime, const AudioVaeConfig& config,
                                              const WeightSource& source, PrecisionPolicy policy);

  // Latents `z` (L, embed_dim), f32 or bf16, L > 0, to log10 mel spectrogram (mel_frames(L), mel_bins).
  // The result stays allocated in the arena. `normalised`, if given, gets a tensor alike from before the
  // statistics of the training data are applied.
  absl::StatusOr<Tensor> Decode(const Tensor& z, const BetweenBlocks& between_blocks = {},
                                Tensor* normalised = nullptr) const;

  std::int64_t mel_frames(std::int64_t latents) const { return latents * length_factor_; }

 private:
  struct Level {
    std::vector<AudioResBlock> blocks;
    std::optional<ConvParams> upsample;
  };

  explicit AudioVaeDecoder(const Runtime& runtime) : runtime_(runtime) {}
  std::int64_t MaxElements(std::int64_t latents) const;

  Runtime runtime_;
  DType dtype_ = DType::kF32;
  std::int64_t length_factor_ = 1;
  ConvParams conv_in_;
  AudioMiddle middle_;
  std::vector<Level> levels_;  // deepest first, as they run
  ConvParams conv_out_;
  Tensor mean_, std_;  // (mel_bins), of the training data
};

// Not part of generation: it makes latents of recorded sound.
class AudioVaeEncoder {
 public:
  static absl::StatusOr<AudioVaeEncoder> Load(const Runtime& runtime, const AudioVaeConfig& config,
                                              const WeightSource& source, PrecisionPolicy policy);

  // Log10 mel spectrogram (Lm, mel_bins), f32 or bf16, Lm at least frames of one latent, to the mean
  // (latents(Lm), embed_dim) of the posterior. The result stays allocated in the arena.
  absl::StatusOr<Tensor> Encode(const Tensor& mel, const BetweenBlocks& between_blocks = {}) const;

  std::int64_t latents(std::int64_t mel_frames) const { return mel_frames / length_factor_; }

 private:
  struct Downsample {
    LinearParams conv1, pooled_conv2;
  };
  struct Level {
    std::vector<AudioResBlock> blocks;
    std::optional<Downsample> downsample;
  };

  explicit AudioVaeEncoder(const Runtime& runtime) : runtime_(runtime) {}
  std::int64_t MaxElements(std::int64_t mel_frames) const;

  Runtime runtime_;
  DType dtype_ = DType::kF32;
  std::int64_t length_factor_ = 1;
  ConvParams conv_in_;
  std::vector<Level> levels_;
  AudioMiddle middle_;
  ConvParams conv_out_;  // of the mean only
  Tensor mean_, inverse_std_;
};

}  // namespace ovi
