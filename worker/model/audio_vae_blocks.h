// The parts encoder and decoder of the audio autoencoder are made of. All convolutions are
// magnitude-preserving: no bias, weights normalised when they are loaded, sums and activations scaled to keep
// the variance at one.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "worker/model/params.h"
#include "worker/model/sequence_ops.h"

namespace ovi {

inline constexpr std::int64_t kAudioVaeKernel = 3;  // of all but 1x1 convolutions

// The weight that a stored one stands for: each of its `rows` output channels w becomes
// w / (1e-4 + rms(w)) / sqrt(elements of w).
std::vector<float> NormalisedConvWeight(std::span<const float> weight, std::int64_t rows);

struct AudioResBlock {
  ConvParams conv1, conv2;
  std::optional<LinearParams> shortcut;  // where the channel count changes
  std::int64_t channels_in() const { return conv1.weight.in_channels; }
  std::int64_t channels_out() const { return conv1.weight.out_channels; }
};

struct AudioAttention {
  LinearParams q, k, v, proj;
};

struct AudioMiddle {
  AudioResBlock block_1;
  AudioAttention attn_1;
  AudioResBlock block_2;
};

// Loads `prefix` with its weights normalised. Borrows the loader.
class AudioVaeLoader {
 public:
  explicit AudioVaeLoader(ParamLoader& loader) : loader_(loader) {}

  absl::StatusOr<ConvParams> Conv(const std::string& prefix, std::int64_t co, std::int64_t ci);
  // `prefix`.conv_out times 1 + `prefix`.learnable_gain: the first `kept` of its `co` output channels.
  absl::StatusOr<ConvParams> ConvOut(const std::string& prefix, std::int64_t co, std::int64_t kept,
                                     std::int64_t ci);
  absl::StatusOr<LinearParams> Linear(const std::string& prefix, std::int64_t n, std::int64_t k);
  // The same on the mean of two neighbouring positions given side by side: (n, 2k).
  absl::StatusOr<LinearParams> PooledLinear(const std::string& prefix, std::int64_t n, std::int64_t k);
  absl::StatusOr<AudioResBlock> ResBlock(const std::string& prefix, std::int64_t co, std::int64_t ci);
  absl::StatusOr<AudioMiddle> Middle(const std::string& prefix, std::int64_t channels);

 private:
  absl::StatusOr<std::vector<float>> Normalised(const std::string& prefix, std::int64_t rows,
                                                std::int64_t row_elements) const;
  absl::StatusOr<AudioAttention> Attention(const std::string& prefix, std::int64_t channels);

  ParamLoader& loader_;
};

// One pass: the running activation x (length, channels) and the scratch it is computed in.
class AudioVaePass {
 public:
  // `elements` is the largest x of the pass. The scratch lives in the arena until the caller's scope ends.
  static absl::StatusOr<AudioVaePass> Begin(const Runtime& runtime, DType dtype, std::int64_t elements,
                                            std::int64_t length, const BetweenBlocks& between_blocks);

  // Of `length` positions, for input that needs converting first. Overwritten by the next step.
  Tensor InputScratch(std::int64_t channels) const { return scratch_.View(1, length_, channels); }

  void ConvIn(const Tensor& in, const ConvParams& conv);
  absl::Status Apply(const AudioResBlock& block);                                // clamps its result
  absl::Status Apply(const AudioMiddle& middle);                                 // clamps its result
  void Upsample(const ConvParams& conv);                                         // length * 2
  void Downsample(const LinearParams& conv1, const LinearParams& pooled_conv2);  // length / 2, rounded down
  void ConvOut(const ConvParams& conv, const Tensor& out);

  std::int64_t length() const { return length_; }

 private:
  AudioVaePass(const Runtime& runtime, ScratchBuffers scratch, std::int64_t length,
               const BetweenBlocks& between_blocks)
      : runtime_(runtime), scratch_(std::move(scratch)), length_(length), between_blocks_(between_blocks) {}

  Tensor X() const { return scratch_.View(0, length_, channels_); }
  absl::Status CheckBetweenBlocks() const;
  void ResBlock(const AudioResBlock& block);
  void Attend(const AudioAttention& attention);
  void Project(const Tensor& in, const LinearParams& params, const Tensor& out);
  void Sum(const Tensor& a, const Tensor& b, const Tensor& out);
  void Clamp();

  Runtime runtime_;
  ScratchBuffers scratch_;  // 0 is x
  std::int64_t length_;
  std::int64_t channels_ = 0;
  const BetweenBlocks& between_blocks_;
};

}  // namespace ovi
