#include "worker/model/audio_vae_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

// Standard deviation of silu of a unit normal variable.
constexpr float kSiluScale = static_cast<float>(1.0 / 0.596);
constexpr float kClamp = 256.0f;

}  // namespace

std::vector<float> NormalisedConvWeight(std::span<const float> weight, std::int64_t rows) {
  OVI_CHECK(rows > 0 && weight.size() % static_cast<std::size_t>(rows) == 0);
  const std::size_t fan = weight.size() / static_cast<std::size_t>(rows);
  std::vector<float> normalised;
  normalised.reserve(weight.size());
  for (std::size_t begin = 0; begin < weight.size(); begin += fan) {
    const std::span<const float> row = weight.subspan(begin, fan);
    double square = 0;
    for (const float value : row) square += double{value} * value;
    const double root_fan = std::sqrt(static_cast<double>(fan));
    const double scale = 1.0 / (1e-4 + std::sqrt(square) / root_fan) / root_fan;
    std::transform(row.begin(), row.end(), std::back_inserter(normalised),
                   [scale](float value) { return static_cast<float>(value * scale); });
  }
  return normalised;
}

absl::StatusOr<std::vector<float>> AudioVaeLoader::Normalised(const std::string& prefix, std::int64_t rows,
                                                              std::int64_t row_elements) const {
  OVI_ASSIGN_OR_RETURN(std::vector<float> raw, loader_.Values(prefix + ".weight", rows * row_elements));
  if (!loader_.reads_values()) return raw;
  return NormalisedConvWeight(raw, rows);
}

absl::StatusOr<ConvParams> AudioVaeLoader::Conv(const std::string& prefix, std::int64_t co, std::int64_t ci) {
  OVI_ASSIGN_OR_RETURN(const std::vector<float> weight, Normalised(prefix, co, ci * kAudioVaeKernel));
  return loader_.ConvFrom(weight, co, ci, {1, 1, kAudioVaeKernel}, prefix);
}

absl::StatusOr<ConvParams> AudioVaeLoader::ConvOut(const std::string& prefix, std::int64_t co,
                                                   std::int64_t kept, std::int64_t ci) {
  const std::string name = prefix + ".conv_out";
  OVI_ASSIGN_OR_RETURN(std::vector<float> weight, Normalised(name, co, ci * kAudioVaeKernel));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> gain, loader_.Values(prefix + ".learnable_gain", 1));
  // The original multiplies at every call, in its number format: the factor near 1 loses most of the gain's
  // bits.
  const bool rounds = loader_.format().bf16_weights;
  const auto rd = [rounds](float x) { return rounds ? RoundToBFloat16(x) : x; };
  const float factor = rd(1.0f + rd(gain[0]));
  weight.resize(static_cast<std::size_t>(kept * ci * kAudioVaeKernel));
  for (float& value : weight) value = rd(value) * factor;
  return loader_.ConvFrom(weight, kept, ci, {1, 1, kAudioVaeKernel}, name);
}

absl::StatusOr<LinearParams> AudioVaeLoader::Linear(const std::string& prefix, std::int64_t n,
                                                    std::int64_t k) {
  OVI_ASSIGN_OR_RETURN(const std::vector<float> weight, Normalised(prefix, n, k));
  return loader_.LinearFrom(weight, n, k, prefix);
}

absl::StatusOr<LinearParams> AudioVaeLoader::PooledLinear(const std::string& prefix, std::int64_t n,
                                                          std::int64_t k) {
  OVI_ASSIGN_OR_RETURN(const std::vector<float> weight, Normalised(prefix, n, k));
  std::vector<float> pooled;
  pooled.reserve(2 * weight.size());
  for (std::int64_t i = 0; i < 2 * n; ++i) {
    const auto row = weight.begin() + i / 2 * k;
    for (std::int64_t j = 0; j < k; ++j) pooled.push_back(0.5f * row[j]);  // halving is exact in bf16 too
  }
  return loader_.LinearFrom(pooled, n, 2 * k, prefix);
}

absl::StatusOr<AudioResBlock> AudioVaeLoader::ResBlock(const std::string& prefix, std::int64_t co,
                                                       std::int64_t ci) {
  AudioResBlock block;
  OVI_ASSIGN_OR_RETURN(block.conv1, Conv(prefix + ".conv1", co, ci));
  OVI_ASSIGN_OR_RETURN(block.conv2, Conv(prefix + ".conv2", co, co));
  if (co != ci) {
    OVI_ASSIGN_OR_RETURN(block.shortcut, Linear(prefix + ".nin_shortcut", co, ci));
  }
  return block;
}

absl::StatusOr<AudioAttention> AudioVaeLoader::Attention(const std::string& prefix, std::int64_t channels) {
  OVI_ASSIGN_OR_RETURN(const std::vector<float> qkv, Normalised(prefix + ".qkv", 3 * channels, channels));
  AudioAttention attention;
  // Output channel 3c + j is component j of channel c.
  const std::array<LinearParams*, 3> components = {&attention.q, &attention.k, &attention.v};
  std::vector<float> rows(static_cast<std::size_t>(channels * channels));
  for (std::int64_t j = 0; j < 3; ++j) {
    for (std::int64_t c = 0; c < channels; ++c) {
      std::copy_n(qkv.begin() + (3 * c + j) * channels, channels, rows.begin() + c * channels);
    }
    OVI_ASSIGN_OR_RETURN(*components[static_cast<std::size_t>(j)],
                         loader_.LinearFrom(rows, channels, channels, prefix + ".qkv"));
  }
  OVI_ASSIGN_OR_RETURN(attention.proj, Linear(prefix + ".proj_out", channels, channels));
  return attention;
}

absl::StatusOr<AudioMiddle> AudioVaeLoader::Middle(const std::string& prefix, std::int64_t channels) {
  AudioMiddle middle;
  OVI_ASSIGN_OR_RETURN(middle.block_1, ResBlock(prefix + ".block_1", channels, channels));
  OVI_ASSIGN_OR_RETURN(middle.attn_1, Attention(prefix + ".attn_1", channels));
  OVI_ASSIGN_OR_RETURN(middle.block_2, ResBlock(prefix + ".block_2", channels, channels));
  return middle;
}

absl::StatusOr<AudioVaePass> AudioVaePass::Begin(const Runtime& runtime, DType dtype, std::int64_t elements,
                                                 std::int64_t length, const BetweenBlocks& between_blocks) {
  // Four: attention holds x, q, k and v.
  OVI_ASSIGN_OR_RETURN(ScratchBuffers scratch, ScratchBuffers::Allocate(runtime.arena, dtype, 4, elements,
                                                                        "audio autoencoder activations"));
  return AudioVaePass(runtime, std::move(scratch), length, between_blocks);
}

void AudioVaePass::ConvIn(const Tensor& in, const ConvParams& conv) {
  channels_ = conv.weight.out_channels;
  runtime_.stream.Run(SequenceConv(conv, in, X()));
}

absl::Status AudioVaePass::Apply(const AudioResBlock& block) {
  OVI_RETURN_IF_ERROR(CheckBetweenBlocks());
  ResBlock(block);
  Clamp();
  return absl::OkStatus();
}

absl::Status AudioVaePass::Apply(const AudioMiddle& middle) {
  OVI_RETURN_IF_ERROR(CheckBetweenBlocks());
  ResBlock(middle.block_1);
  OVI_RETURN_IF_ERROR(CheckBetweenBlocks());
  Attend(middle.attn_1);
  OVI_RETURN_IF_ERROR(CheckBetweenBlocks());
  ResBlock(middle.block_2);
  Clamp();
  return absl::OkStatus();
}

void AudioVaePass::Upsample(const ConvParams& conv) {
  const Tensor x = X();
  length_ *= 2;
  const Tensor repeated = scratch_.View(1, length_, channels_);
  runtime_.stream.Run(ovi::Upsample{.in = x.Reshaped({1, 1, x.shape[0], channels_}),
                                    .out = repeated.Reshaped({1, 1, length_, channels_})});
  runtime_.stream.Run(SequenceConv(conv, repeated, X()));
}

void AudioVaePass::Downsample(const LinearParams& conv1, const LinearParams& pooled_conv2) {
  const Tensor y = scratch_.View(1, length_, channels_);
  Project(X(), conv1, y);
  length_ /= 2;
  Project(y.Slice(0, 2 * length_).Reshaped({length_, 2 * channels_}), pooled_conv2, X());
}

void AudioVaePass::ConvOut(const ConvParams& conv, const Tensor& out) {
  const Tensor y = scratch_.View(1, length_, channels_);
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kSilu, .a = X(), .out = y});
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kScale, .a = y, .alpha = kSiluScale, .out = y});
  runtime_.stream.Run(SequenceConv(conv, y, out));
}

absl::Status AudioVaePass::CheckBetweenBlocks() const {
  return between_blocks_ ? between_blocks_() : absl::OkStatus();
}

// n = pixnorm(x);  x = sum(shortcut(n), conv2(silu'(conv1(silu'(n)))))
void AudioVaePass::ResBlock(const AudioResBlock& block) {
  const Tensor x = X();
  const Tensor activated = scratch_.View(1, length_, channels_);
  runtime_.stream.Run(ChannelNorm{.x = x,
                                  .rule = ChannelNormRule::kMagnitude,
                                  .activation = Activation::kSilu,
                                  .activation_scale = kSiluScale,
                                  .out = activated});
  runtime_.stream.Run(ChannelNorm{.x = x, .rule = ChannelNormRule::kMagnitude, .out = x});

  channels_ = block.channels_out();
  const Tensor hidden = scratch_.View(2, length_, channels_);
  ovi::Conv conv1 = SequenceConv(block.conv1, activated, hidden);
  conv1.activation = Activation::kSilu;
  runtime_.stream.Run(conv1);
  runtime_.stream.Run(
      Elementwise{.kind = ElementwiseKind::kScale, .a = hidden, .alpha = kSiluScale, .out = hidden});
  const Tensor y = scratch_.View(1, length_, channels_);
  runtime_.stream.Run(SequenceConv(block.conv2, hidden, y));
  if (block.shortcut.has_value()) Project(x, *block.shortcut, hidden);
  Sum(block.shortcut.has_value() ? hidden : x, y, X());
}

void AudioVaePass::Attend(const AudioAttention& attention) {
  const Tensor x = X();
  const Tensor q = scratch_.View(1, length_, channels_);
  const Tensor k = scratch_.View(2, length_, channels_);
  const Tensor v = scratch_.View(3, length_, channels_);
  Project(x, attention.q, q);
  Project(x, attention.k, k);
  Project(x, attention.v, v);
  for (const Tensor& component : {q, k, v}) {
    runtime_.stream.Run(ChannelNorm{.x = component, .rule = ChannelNormRule::kMagnitude, .out = component});
  }
  runtime_.stream.Run(ovi::Attention{.q = q,
                                     .k = k,
                                     .v = v,
                                     .keys = length_,
                                     .scale = 1.0f / std::sqrt(static_cast<float>(channels_)),
                                     .out = q});
  Project(q, attention.proj, k);
  Sum(x, k, x);
}

void AudioVaePass::Project(const Tensor& in, const LinearParams& params, const Tensor& out) {
  runtime_.stream.Run(Gemm{.a = in, .weight = &params.weight, .out = out});
}

// Weighted so that the sum of two independent unit-variance terms has variance one.
void AudioVaePass::Sum(const Tensor& a, const Tensor& b, const Tensor& out) {
  const double norm = std::sqrt(0.7 * 0.7 + 0.3 * 0.3);
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kAxpby,
                                  .a = a,
                                  .b = b,
                                  .alpha = static_cast<float>(0.7 / norm),
                                  .beta = static_cast<float>(0.3 / norm),
                                  .out = out});
}

void AudioVaePass::Clamp() {
  runtime_.stream.Run(
      Elementwise{.kind = ElementwiseKind::kClamp, .a = X(), .alpha = -kClamp, .beta = kClamp, .out = X()});
}

}  // namespace ovi
