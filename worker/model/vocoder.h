// Vocoder (BigVGAN): a log10 mel spectrogram to a waveform, `hop` samples a mel frame. Channels-last.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/config.h"
#include "worker/model/params.h"
#include "worker/model/runtime.h"
#include "worker/model/sequence_ops.h"
#include "worker/weights/check_tensors.h"

namespace ovi {

// How a checkpoint names the length and direction of a weight: torch changed it between versions.
enum class WeightNormNames {
  kGV,               // X.weight_g, X.weight_v
  kParametrizations  // X.parametrizations.weight.original0, .original1
};

WeightNormNames FindWeightNormNames(const WeightSource& source);

// Every tensor of the generator (`generator` in best_netG.pt).
std::vector<TensorSpec> VocoderTensors(const VocoderConfig& config, WeightNormNames names);

// w = g * v / ||v||, one g for each index of v's first dimension. Zero where ||v|| is.
std::vector<float> FoldWeightNorm(std::span<const float> g, std::span<const float> v);

// The weights stay in the arena for as long as the caller keeps them there. A failed Load leaves its
// allocations to the caller's ArenaScope. Thread-compatible; borrows the runtime.
class Vocoder {
 public:
  // Sees intermediate results (L, C) in the network's number format, valid during the call only:
  // "conv_pre", "ups.N", "activation_post.x", "activation_post.y".
  using Observer = std::function<void(std::string_view name, const Tensor& value)>;

  // INVALID_ARGUMENT names tensors that are missing, too many or of another shape.
  static absl::StatusOr<Vocoder> Load(const Runtime& runtime, const VocoderConfig& config,
                                      const WeightSource& source, PrecisionPolicy policy);

  // `mel` (Lm, mel_bins), f32 or bf16, Lm > 0, to samples (hop * Lm) f32 in -1..1, allocated in the arena.
  absl::StatusOr<Tensor> Decode(const Tensor& mel, const BetweenBlocks& between_blocks = {},
                                const Observer& observer = {}) const;

  // Parts alone, for tests: residual block `block` of all the stages in a row, and one of its activations, on
  // x (L, C) in the network's number format. The result is allocated in the arena.
  absl::StatusOr<Tensor> ResBlock(std::size_t block, const Tensor& x) const;
  absl::StatusOr<Tensor> Activation(std::size_t block, std::size_t activation, const Tensor& x) const;

  DType dtype() const { return dtype_; }

 private:
  struct Snake {
    Tensor alpha, inv_beta;         // (C), out of their logarithms
    Tensor filter_up, filter_down;  // (12)
  };
  struct AmpBlock {
    std::vector<std::int64_t> dilations;
    std::vector<ConvParams> convs1, convs2;  // one a dilation
    std::vector<Snake> activations;          // two a dilation
  };
  class Loader;

  explicit Vocoder(const Runtime& runtime) : runtime_(runtime) {}
  std::int64_t MaxElements(std::int64_t mel_frames) const;
  void Activate(const Snake& snake, const Tensor& x, const Tensor& out) const;
  // out = the block's result. x is kept; a and b are scratch alike.
  void RunAmpBlock(const AmpBlock& block, const Tensor& x, const Tensor& a, const Tensor& b,
                   const Tensor& out) const;

  Runtime runtime_;
  DType dtype_ = DType::kF32;
  std::vector<std::int64_t> rates_;
  std::size_t blocks_per_stage_ = 0;
  ConvParams conv_pre_;
  std::vector<ConvTransposeParams> ups_;
  std::vector<AmpBlock> blocks_;
  Snake activation_post_;
  ConvParams conv_post_;
};

}  // namespace ovi
