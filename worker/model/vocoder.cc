#include "worker/model/vocoder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace ovi {

std::int64_t Vocoder::MaxElements(std::int64_t mel_frames) const {
  std::int64_t length = mel_frames;
  std::int64_t max = length * std::max(conv_pre_.weight.in_channels, conv_pre_.weight.out_channels);
  for (std::size_t i = 0; i < ups_.size(); ++i) {
    length *= rates_[i];
    max = std::max(max, length * ups_[i].weight.out_channels);
  }
  return max;
}

void Vocoder::Activate(const Snake& snake, const Tensor& x, const Tensor& out) const {
  runtime_.stream.Run(AntiAliasedSnake{.x = x,
                                       .alpha = snake.alpha,
                                       .inv_beta = snake.inv_beta,
                                       .filter_up = snake.filter_up,
                                       .filter_down = snake.filter_down,
                                       .out = out});
}

void Vocoder::RunAmpBlock(const AmpBlock& block, const Tensor& x, const Tensor& a, const Tensor& b,
                          const Tensor& out) const {
  for (std::size_t n = 0; n < block.dilations.size(); ++n) {
    const Tensor& y = n == 0 ? x : out;
    Activate(block.activations[2 * n], y, a);
    runtime_.stream.Run(SequenceConv(block.convs1[n], a, b, block.dilations[n]));
    Activate(block.activations[2 * n + 1], b, a);
    Conv conv = SequenceConv(block.convs2[n], a, out);
    conv.residual = y.Reshaped(conv.out.shape);
    runtime_.stream.Run(conv);
  }
}

absl::StatusOr<Tensor> Vocoder::Decode(const Tensor& mel, const BetweenBlocks& between_blocks,
                                       const Observer& observer) const {
  OVI_CHECK(mel.shape.rank() == 2 && mel.shape[0] > 0 && mel.shape[1] == conv_pre_.weight.in_channels);
  std::int64_t length = mel.shape[0];
  std::int64_t samples = length;
  for (const std::int64_t rate : rates_) samples *= rate;
  OVI_ASSIGN_OR_RETURN(const Tensor waveform, runtime_.arena.Allocate(DType::kF32, {samples}, "waveform"));

  const ArenaScope scope(runtime_.arena);
  // The stage's input and sum, one block's result and its two temporaries.
  OVI_ASSIGN_OR_RETURN(
      const ScratchBuffers scratch,
      ScratchBuffers::Allocate(runtime_.arena, dtype_, 5, MaxElements(length), "vocoder activations"));
  const auto observe = [&observer](std::string_view name, const Tensor& value) {
    if (observer) observer(name, value);
  };

  Tensor sum = scratch.View(1, length, conv_pre_.weight.out_channels);
  const Tensor in = CastInto(runtime_, mel, scratch.View(0, length, mel.shape[1]));
  runtime_.stream.Run(SequenceConv(conv_pre_, in, sum));
  observe("conv_pre", sum);

  for (std::size_t i = 0; i < ups_.size(); ++i) {
    const ConvTransposeWeight& up = ups_[i].weight;
    length *= rates_[i];
    const Tensor x = scratch.View(0, length, up.out_channels);
    runtime_.stream.Run(ConvTranspose{.in = sum,
                                      .weight = &up,
                                      .bias = ups_[i].bias,
                                      .stride = rates_[i],
                                      .pad = (up.kernel - rates_[i]) / 2,
                                      .out = x});
    observe(absl::StrCat("ups.", i), x);

    sum = scratch.View(1, length, up.out_channels);
    const Tensor y = scratch.View(2, length, up.out_channels);
    const Tensor a = scratch.View(3, length, up.out_channels);
    const Tensor b = scratch.View(4, length, up.out_channels);
    for (std::size_t j = 0; j < blocks_per_stage_; ++j) {
      if (between_blocks) OVI_RETURN_IF_ERROR(between_blocks());
      RunAmpBlock(blocks_[i * blocks_per_stage_ + j], x, a, b, j == 0 ? sum : y);
      if (j > 0) {
        runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kAxpby, .a = sum, .b = y, .out = sum});
      }
    }
    const float share = 1.0f / static_cast<float>(blocks_per_stage_);
    runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kScale, .a = sum, .alpha = share, .out = sum});
  }

  observe("activation_post.x", sum);
  const Tensor activated = scratch.View(0, length, sum.shape[1]);
  Activate(activation_post_, sum, activated);
  observe("activation_post.y", activated);
  const Tensor wave = scratch.View(1, length, 1);
  runtime_.stream.Run(SequenceConv(conv_post_, activated, wave));
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kTanh, .a = wave, .out = wave});
  runtime_.stream.Run(
      Elementwise{.kind = ElementwiseKind::kCast, .a = wave.Reshaped({samples}), .out = waveform});
  return waveform;
}

absl::StatusOr<Tensor> Vocoder::ResBlock(std::size_t block, const Tensor& x) const {
  OVI_CHECK(block < blocks_.size());
  OVI_ASSIGN_OR_RETURN(const Tensor out, runtime_.arena.Allocate(dtype_, x.shape, "residual block"));
  const ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(
      const ScratchBuffers scratch,
      ScratchBuffers::Allocate(runtime_.arena, dtype_, 2, x.elements(), "vocoder activations"));
  RunAmpBlock(blocks_[block], x, scratch.View(0, x.shape[0], x.shape[1]),
              scratch.View(1, x.shape[0], x.shape[1]), out);
  return out;
}

absl::StatusOr<Tensor> Vocoder::Activation(std::size_t block, std::size_t activation, const Tensor& x) const {
  OVI_CHECK(block < blocks_.size() && activation < blocks_[block].activations.size());
  OVI_ASSIGN_OR_RETURN(const Tensor out, runtime_.arena.Allocate(dtype_, x.shape, "activation"));
  Activate(blocks_[block].activations[activation], x, out);
  return out;
}

}  // namespace ovi
