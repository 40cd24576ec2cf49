#include "worker/model/audio_vae.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

int Levels(const AudioVaeConfig& config) {
  return static_cast<int>(config.ch_mult.size());
}

std::int64_t LevelChannels(const AudioVaeConfig& config, int level) {
  return config.hidden_dim * config.ch_mult[static_cast<std::size_t>(level)];
}

std::int64_t DeepestChannels(const AudioVaeConfig& config) {
  return LevelChannels(config, Levels(config) - 1);
}

// Channels that enter a level: those of its neighbour on the way.
std::int64_t EncoderChannelsIn(const AudioVaeConfig& config, int level) {
  return level == 0 ? config.hidden_dim : LevelChannels(config, level - 1);
}

std::int64_t DecoderChannelsIn(const AudioVaeConfig& config, int level) {
  return LevelChannels(config, std::min(level + 1, Levels(config) - 1));
}

// Whether the step between `level` and the next deeper one halves the length.
bool Halves(const AudioVaeConfig& config, int level) {
  return std::find(config.down_layers.begin(), config.down_layers.end(), level) != config.down_layers.end();
}

std::int64_t LengthFactor(const AudioVaeConfig& config) {
  std::int64_t factor = 1;
  for (int level = 0; level < Levels(config); ++level) factor *= Halves(config, level) ? 2 : 1;
  return factor;
}

std::string BlockName(std::string_view half, int level, std::int64_t block) {
  return absl::StrCat(std::string(half), ".", level, ".block.", block);
}

class SpecList {
 public:
  void Add(const std::string& name, const Shape& shape) { specs_.push_back({name, shape}); }
  void Conv(const std::string& prefix, std::int64_t co, std::int64_t ci, std::int64_t kernel) {
    Add(prefix + ".weight", {co, ci, kernel});
  }
  void ResBlock(const std::string& prefix, std::int64_t co, std::int64_t ci) {
    Conv(prefix + ".conv1", co, ci, kAudioVaeKernel);
    Conv(prefix + ".conv2", co, co, kAudioVaeKernel);
    if (co != ci) Conv(prefix + ".nin_shortcut", co, ci, 1);
  }
  // Middle, gain and the two outer convolutions of one half.
  void Frame(const std::string& half, std::int64_t in, std::int64_t first, std::int64_t deepest,
             std::int64_t last, std::int64_t out) {
    Add(half + ".learnable_gain", {});
    Conv(half + ".conv_in", first, in, kAudioVaeKernel);
    ResBlock(half + ".mid.block_1", deepest, deepest);
    ResBlock(half + ".mid.block_2", deepest, deepest);
    Conv(half + ".mid.attn_1.qkv", 3 * deepest, deepest, 1);
    Conv(half + ".mid.attn_1.proj_out", deepest, deepest, 1);
    Conv(half + ".conv_out", out, last, kAudioVaeKernel);
  }
  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

}  // namespace

std::vector<TensorSpec> AudioVaeTensors(const AudioVaeConfig& config) {
  const std::int64_t deepest = DeepestChannels(config);
  SpecList list;
  list.Add("data_mean", {1, config.mel_bins, 1});
  list.Add("data_std", {1, config.mel_bins, 1});
  list.Frame("encoder", config.mel_bins, config.hidden_dim, deepest, deepest, 2 * config.embed_dim);
  list.Frame("decoder", config.embed_dim, deepest, deepest, LevelChannels(config, 0), config.mel_bins);
  for (int level = 0; level < Levels(config); ++level) {
    const std::int64_t channels = LevelChannels(config, level);
    for (std::int64_t j = 0; j < config.res_blocks; ++j) {
      list.ResBlock(BlockName("encoder.down", level, j), channels,
                    j == 0 ? EncoderChannelsIn(config, level) : channels);
    }
    // The decoder has one block more a level.
    for (std::int64_t j = 0; j <= config.res_blocks; ++j) {
      list.ResBlock(BlockName("decoder.up", level, j), channels,
                    j == 0 ? DecoderChannelsIn(config, level) : channels);
    }
    if (Halves(config, level)) {
      const std::string down = absl::StrCat("encoder.down.", level, ".downsample");
      list.Conv(down + ".conv1", channels, channels, 1);
      list.Conv(down + ".conv2", channels, channels, 1);
    }
    if (level > 0 && Halves(config, level - 1)) {
      list.Conv(absl::StrCat("decoder.up.", level, ".upsample.conv"), channels, channels, kAudioVaeKernel);
    }
  }
  return list.Take();
}

absl::StatusOr<AudioVaeDecoder> AudioVaeDecoder::Load(const Runtime& runtime, const AudioVaeConfig& config,
                                                      const WeightSource& source, PrecisionPolicy policy) {
  OVI_RETURN_IF_ERROR(CheckTensors(source, AudioVaeTensors(config)));
  ParamLoader params(runtime, source, Bf16NetworkFormat(policy));
  AudioVaeLoader loader(params);
  const std::int64_t deepest = DeepestChannels(config);
  AudioVaeDecoder decoder(runtime);
  decoder.dtype_ = params.format().compute;
  decoder.length_factor_ = LengthFactor(config);
  OVI_ASSIGN_OR_RETURN(decoder.conv_in_, loader.Conv("decoder.conv_in", deepest, config.embed_dim));
  OVI_ASSIGN_OR_RETURN(decoder.middle_, loader.Middle("decoder.mid", deepest));
  for (int i = Levels(config) - 1; i >= 0; --i) {
    const std::int64_t channels = LevelChannels(config, i);
    Level& level = decoder.levels_.emplace_back();
    for (std::int64_t j = 0; j <= config.res_blocks; ++j) {
      OVI_ASSIGN_OR_RETURN(level.blocks.emplace_back(),
                           loader.ResBlock(BlockName("decoder.up", i, j), channels,
                                           j == 0 ? DecoderChannelsIn(config, i) : channels));
    }
    if (i > 0 && Halves(config, i - 1)) {
      const std::string name = absl::StrCat("decoder.up.", i, ".upsample.conv");
      OVI_ASSIGN_OR_RETURN(level.upsample, loader.Conv(name, channels, channels));
    }
  }
  OVI_ASSIGN_OR_RETURN(decoder.conv_out_,
                       loader.ConvOut("decoder", config.mel_bins, config.mel_bins, LevelChannels(config, 0)));
  OVI_ASSIGN_OR_RETURN(decoder.mean_, params.Vector("data_mean", config.mel_bins));
  OVI_ASSIGN_OR_RETURN(decoder.std_, params.Vector("data_std", config.mel_bins));
  return decoder;
}

std::int64_t AudioVaeDecoder::MaxElements(std::int64_t latents) const {
  std::int64_t length = latents;
  std::int64_t max = length * std::max(conv_in_.weight.in_channels, conv_in_.weight.out_channels);
  for (const Level& level : levels_) {
    for (const AudioResBlock& block : level.blocks) {
      max = std::max(max, length * std::max(block.channels_in(), block.channels_out()));
    }
    if (!level.upsample.has_value()) continue;
    length *= 2;
    max = std::max(max, length * level.upsample->weight.out_channels);
  }
  return max;
}

absl::StatusOr<Tensor> AudioVaeDecoder::Decode(const Tensor& z, const BetweenBlocks& between_blocks,
                                               Tensor* normalised) const {
  OVI_CHECK(z.shape.rank() == 2 && z.shape[0] > 0 && z.shape[1] == conv_in_.weight.in_channels);
  const Shape shape{mel_frames(z.shape[0]), conv_out_.weight.out_channels};
  OVI_ASSIGN_OR_RETURN(const Tensor mel, runtime_.arena.Allocate(dtype_, shape, "mel spectrogram"));
  if (normalised != nullptr) {
    OVI_ASSIGN_OR_RETURN(*normalised, runtime_.arena.Allocate(dtype_, shape, "normalised mel spectrogram"));
  }

  const ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(AudioVaePass pass, AudioVaePass::Begin(runtime_, dtype_, MaxElements(z.shape[0]),
                                                              z.shape[0], between_blocks));
  pass.ConvIn(CastInto(runtime_, z, pass.InputScratch(z.shape[1])), conv_in_);
  OVI_RETURN_IF_ERROR(pass.Apply(middle_));
  for (const Level& level : levels_) {
    for (const AudioResBlock& block : level.blocks) OVI_RETURN_IF_ERROR(pass.Apply(block));
    if (level.upsample.has_value()) pass.Upsample(*level.upsample);
  }
  pass.ConvOut(conv_out_, mel);
  if (normalised != nullptr) runtime_.stream.Copy(*normalised, mel);
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kMul, .a = mel, .b = std_, .out = mel});
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kAxpby, .a = mel, .b = mean_, .out = mel});
  return mel;
}

absl::StatusOr<AudioVaeEncoder> AudioVaeEncoder::Load(const Runtime& runtime, const AudioVaeConfig& config,
                                                      const WeightSource& source, PrecisionPolicy policy) {
  OVI_RETURN_IF_ERROR(CheckTensors(source, AudioVaeTensors(config)));
  ParamLoader params(runtime, source, Bf16NetworkFormat(policy));
  AudioVaeLoader loader(params);
  AudioVaeEncoder encoder(runtime);
  encoder.dtype_ = params.format().compute;
  encoder.length_factor_ = LengthFactor(config);
  OVI_ASSIGN_OR_RETURN(encoder.conv_in_, loader.Conv("encoder.conv_in", config.hidden_dim, config.mel_bins));
  for (int i = 0; i < Levels(config); ++i) {
    const std::int64_t channels = LevelChannels(config, i);
    Level& level = encoder.levels_.emplace_back();
    for (std::int64_t j = 0; j < config.res_blocks; ++j) {
      OVI_ASSIGN_OR_RETURN(level.blocks.emplace_back(),
                           loader.ResBlock(BlockName("encoder.down", i, j), channels,
                                           j == 0 ? EncoderChannelsIn(config, i) : channels));
    }
    if (Halves(config, i)) {
      const std::string name = absl::StrCat("encoder.down.", i, ".downsample");
      Downsample& down = level.downsample.emplace();
      OVI_ASSIGN_OR_RETURN(down.conv1, loader.Linear(name + ".conv1", channels, channels));
      OVI_ASSIGN_OR_RETURN(down.pooled_conv2, loader.PooledLinear(name + ".conv2", channels, channels));
    }
  }
  const std::int64_t deepest = DeepestChannels(config);
  OVI_ASSIGN_OR_RETURN(encoder.middle_, loader.Middle("encoder.mid", deepest));
  // Mean first, then the logarithm of the variance, which only sampling needs.
  OVI_ASSIGN_OR_RETURN(encoder.conv_out_,
                       loader.ConvOut("encoder", 2 * config.embed_dim, config.embed_dim, deepest));
  OVI_ASSIGN_OR_RETURN(encoder.mean_, params.Vector("data_mean", config.mel_bins));
  OVI_ASSIGN_OR_RETURN(std::vector<float> std, params.Values("data_std", config.mel_bins));
  for (float& value : std) value = 1.0f / value;
  OVI_ASSIGN_OR_RETURN(encoder.inverse_std_, params.VectorFrom(std, "data_std"));
  return encoder;
}

std::int64_t AudioVaeEncoder::MaxElements(std::int64_t mel_frames) const {
  std::int64_t length = mel_frames;
  std::int64_t max = length * conv_in_.weight.in_channels;
  for (const Level& level : levels_) {
    for (const AudioResBlock& block : level.blocks) {
      max = std::max(max, length * std::max(block.channels_in(), block.channels_out()));
    }
    if (level.downsample.has_value()) length /= 2;
  }
  return max;
}

absl::StatusOr<Tensor> AudioVaeEncoder::Encode(const Tensor& mel, const BetweenBlocks& between_blocks) const {
  OVI_CHECK(mel.shape.rank() == 2 && mel.shape[0] >= length_factor_ &&
            mel.shape[1] == conv_in_.weight.in_channels);
  OVI_ASSIGN_OR_RETURN(const Tensor z,
                       runtime_.arena.Allocate(dtype_, {latents(mel.shape[0]), conv_out_.weight.out_channels},
                                               "audio latents"));

  const ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(AudioVaePass pass, AudioVaePass::Begin(runtime_, dtype_, MaxElements(mel.shape[0]),
                                                              mel.shape[0], between_blocks));
  const Tensor in = pass.InputScratch(mel.shape[1]);
  runtime_.stream.Run(
      Elementwise{.kind = ElementwiseKind::kAxpby, .a = mel, .b = mean_, .beta = -1.0f, .out = in});
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kMul, .a = in, .b = inverse_std_, .out = in});
  pass.ConvIn(in, conv_in_);
  for (const Level& level : levels_) {
    for (const AudioResBlock& block : level.blocks) OVI_RETURN_IF_ERROR(pass.Apply(block));
    if (level.downsample.has_value())
      pass.Downsample(level.downsample->conv1, level.downsample->pooled_conv2);
  }
  OVI_RETURN_IF_ERROR(pass.Apply(middle_));
  pass.ConvOut(conv_out_, z);
  return z;
}

}  // namespace ovi
