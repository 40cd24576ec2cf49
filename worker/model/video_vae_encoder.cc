#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/model/video_vae.h"

namespace ovi {

using video_vae::CausalConv;
using video_vae::FrameHistory;
using video_vae::MiddleBlock;
using video_vae::NormConv;
using video_vae::Pause;
using video_vae::ResidualChain;

absl::StatusOr<std::unique_ptr<VideoVaeEncoder>> VideoVaeEncoder::Load(const Runtime& runtime,
                                                                       const VideoVaeConfig& config,
                                                                       const WeightSource& source,
                                                                       PrecisionPolicy policy,
                                                                       VideoVaeInput input) {
  OVI_RETURN_IF_ERROR(CheckVideoVaeConfig(config));
  const bool bf16_weights = policy == PrecisionPolicy::kAsExecuted;
  ParamLoader loader(runtime, source, {.compute = DType::kF32, .bf16_weights = bf16_weights});
  ParamLoader exact(runtime, source, {});  // the original keeps the latents' statistics in f32
  std::unique_ptr<VideoVaeEncoder> encoder(new VideoVaeEncoder(runtime, config, input));

  std::vector<float> inverse_std;
  for (const float value : config.std) inverse_std.push_back(1.0f / value);
  OVI_ASSIGN_OR_RETURN(encoder->mean_, exact.VectorFrom(config.mean, "latent mean"));
  OVI_ASSIGN_OR_RETURN(encoder->inverse_std_, exact.VectorFrom(inverse_std, "latent standard deviation"));

  OVI_ASSIGN_OR_RETURN(encoder->conv_in_, CausalConv::Load(loader, "encoder.conv1", config.encoder_dim,
                                                           3 * config.patch * config.patch, input));
  const std::vector<VideoVaeLevel> levels = VideoVaeEncoderLevels(config);
  encoder->levels_.resize(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    OVI_RETURN_IF_ERROR(encoder->LoadLevel(loader, i, levels[i]));
  }
  const std::int64_t channels = levels.back().out_channels;
  OVI_ASSIGN_OR_RETURN(encoder->middle_, MiddleBlock::Load(loader, "encoder.middle", channels, input));
  const std::int64_t z = config.z_dim;
  OVI_ASSIGN_OR_RETURN(encoder->head_, NormConv::Load(loader, "encoder.head.0.gamma", "encoder.head.2", 2 * z,
                                                      channels, input));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> weight, loader.Values("conv1.weight", 2 * z * 2 * z));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> bias, loader.Values("conv1.bias", 2 * z));
  OVI_ASSIGN_OR_RETURN(encoder->mean_out_, loader.LinearFrom(std::span(weight).first(weight.size() / 2), z,
                                                             2 * z, "conv1.weight"));
  OVI_ASSIGN_OR_RETURN(encoder->mean_out_.bias,
                       loader.VectorFrom(std::span(bias).first(bias.size() / 2), "conv1.bias"));
  return encoder;
}

absl::Status VideoVaeEncoder::LoadLevel(ParamLoader& loader, std::size_t index, const VideoVaeLevel& layout) {
  Level& level = levels_[index];
  level.layout = layout;
  const std::int64_t channels = layout.out_channels;
  const std::string prefix = absl::StrCat("encoder.downsamples.", index, ".downsamples");
  OVI_ASSIGN_OR_RETURN(level.residuals,
                       ResidualChain::Load(loader, prefix, config_.res_blocks, layout, input_));
  if (!layout.resamples) return absl::OkStatus();
  const std::string resample = absl::StrCat(prefix, ".", config_.res_blocks);
  OVI_ASSIGN_OR_RETURN(level.resample, loader.Conv(resample + ".resample.1", channels, channels, {1, 3, 3},
                                                   ParamLoader::Bias::kYes));
  if (!layout.time || input_ == VideoVaeInput::kImage) return absl::OkStatus();
  OVI_ASSIGN_OR_RETURN(level.time, loader.Conv(resample + ".time_conv", channels, channels, {3, 1, 1},
                                               ParamLoader::Bias::kYes));
  level.history = FrameHistory(1, channels);
  return absl::OkStatus();
}

absl::Status VideoVaeEncoder::CheckFrames(const Shape& frames) const {
  const std::int64_t space = config_.spatial_factor();
  const std::int64_t time = config_.temporal_factor();
  const bool frames_fit = input_ == VideoVaeInput::kImage ? frames[0] == 1 : frames[0] % time == 1 % time;
  if (frames[0] < 1 || !frames_fit) {
    return absl::InvalidArgumentError(absl::StrCat("video encoder: frames=", frames[0], ", expected ",
                                                   input_ == VideoVaeInput::kImage
                                                       ? std::string("1")
                                                       : absl::StrCat("1 more than a multiple of ", time)));
  }
  if (frames[1] < 1 || frames[2] < 1 || frames[1] % space != 0 || frames[2] % space != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("video encoder: size ", frames[2], "x", frames[1], ", expected multiples of ", space));
  }
  return absl::OkStatus();
}

absl::Status VideoVaeEncoder::Begin(std::int64_t rows, std::int64_t cols, const RowSharding& sharding) {
  sharding_ = sharding;
  rows_ = rows;
  own_rows_ = sharding.RowsOfThisRank(rows);
  halo_ = RowHalo(sharding, RowHalo::Reads::kAboveAndBelow);
  halving_halo_ = RowHalo(sharding, RowHalo::Reads::kBelow);
  OVI_RETURN_IF_ERROR(middle_.Begin(runtime_, rows, cols));
  OVI_RETURN_IF_ERROR(head_.Begin(runtime_, rows, cols));
  if (own_rows_.size() == 0) return absl::OkStatus();
  const std::int64_t factor = config_.spatial_factor() / config_.patch;
  std::int64_t level_rows = factor * own_rows_.size();
  cols *= factor;
  OVI_RETURN_IF_ERROR(conv_in_.history.Begin(runtime_, level_rows, cols, halo_));
  for (Level& level : levels_) {
    OVI_RETURN_IF_ERROR(level.residuals.Begin(runtime_, level_rows, cols, halo_));
    level_rows /= level.layout.space_factor();
    cols /= level.layout.space_factor();
    if (level.layout.time) OVI_RETURN_IF_ERROR(level.history.Begin(runtime_, level_rows, cols));
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensor> VideoVaeEncoder::Encode(const Tensor& frames,
                                               const std::function<absl::Status()>& between_blocks,
                                               const RowSharding& sharding) {
  OVI_RETURN_IF_ERROR(CheckFrames(frames.shape));
  const std::int64_t time = config_.temporal_factor();
  const std::int64_t latent_frames = 1 + (frames.shape[0] - 1) / time;
  const std::int64_t rows = frames.shape[1] / config_.spatial_factor();
  const std::int64_t cols = frames.shape[2] / config_.spatial_factor();
  OVI_ASSIGN_OR_RETURN(
      const Tensor latents,
      runtime_.arena.Allocate(DType::kF32, {latent_frames, rows, cols, config_.z_dim}, "encoded latents"));
  ArenaScope scope(runtime_.arena);
  OVI_RETURN_IF_ERROR(Begin(rows, cols, sharding));
  for (std::int64_t t = 0; t < latent_frames; ++t) {
    const Tensor chunk = t == 0 ? frames.Slice(0, 1) : frames.Slice(1 + (t - 1) * time, time);
    OVI_RETURN_IF_ERROR(EncodeChunk(chunk, t == 0, latents.Slice(t, 1), between_blocks));
  }
  runtime_.stream.Run(
      Elementwise{.kind = ElementwiseKind::kAxpby, .a = latents, .b = mean_, .beta = -1.0f, .out = latents});
  runtime_.stream.Run(
      Elementwise{.kind = ElementwiseKind::kMul, .a = latents, .b = inverse_std_, .out = latents});
  return latents;
}

absl::Status VideoVaeEncoder::EncodeChunk(const Tensor& frames, bool first, const Tensor& latent,
                                          const BetweenBlocks& between) {
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor own, RunLevels(frames, first, between));
  OVI_ASSIGN_OR_RETURN(const Tensor x, WholeFrame(own));
  OVI_RETURN_IF_ERROR(middle_.Run(runtime_, x, between));
  OVI_ASSIGN_OR_RETURN(
      const Tensor moments,
      runtime_.arena.Allocate(DType::kF32, {1, latent.shape[1], latent.shape[2], 2 * config_.z_dim},
                              "video encoder moments"));
  OVI_RETURN_IF_ERROR(head_.Run(runtime_, x, moments));
  video_vae::RunPointwise(runtime_, mean_out_, moments, latent);
  return absl::OkStatus();
}

absl::StatusOr<Tensor> VideoVaeEncoder::RunLevels(const Tensor& frames, bool first,
                                                  const BetweenBlocks& between) {
  const std::int64_t patch = config_.patch;
  const std::int64_t factor = config_.spatial_factor();
  const std::int64_t rows = own_rows_.size() * factor / patch;
  const std::int64_t cols = frames.shape[2] / patch;
  if (rows == 0) {
    return runtime_.arena.Allocate(
        DType::kF32, {1, 0, frames.shape[2] / factor, levels_.back().layout.out_channels}, "no rows");
  }
  OVI_ASSIGN_OR_RETURN(
      Tensor x, runtime_.arena.Allocate(DType::kF32, {frames.shape[0], rows, cols, config_.encoder_dim},
                                        "video encoder input"));
  {
    ArenaScope patch_scope(runtime_.arena);
    OVI_ASSIGN_OR_RETURN(const Tensor opened, conv_in_.history.Open(runtime_, frames.shape[0]));
    // A patch's channels are (colour, column, row), row fastest: (t, y, q, x, r, c) to (t, y, x, c, r, q).
    OVI_RETURN_IF_ERROR(conv_in_.history.FillFresh(
        runtime_, opened, [&](std::int64_t begin, std::int64_t count, const Tensor& to) {
          const Tensor pixels =
              RowsOf(frames.Slice(begin, count), own_rows_.begin * factor, own_rows_.size() * factor);
          runtime_.stream.Run(Permute{.in = pixels.Reshaped({count, rows, patch, cols, patch, 3}),
                                      .axes = {0, 1, 3, 5, 4, 2},
                                      .out = to.Reshaped({count, rows, cols, 3, patch, patch})});
        }));
    conv_in_.Run(runtime_, opened, /*residual=*/{}, x);
  }
  for (const Level& level : levels_) {
    OVI_ASSIGN_OR_RETURN(x, RunLevel(level, x, first, between));
  }
  return x;
}

absl::StatusOr<Tensor> VideoVaeEncoder::WholeFrame(const Tensor& x) {
  if (sharding_.communicator == nullptr) return x;
  OVI_ASSIGN_OR_RETURN(const Tensor whole,
                       runtime_.arena.Allocate(DType::kF32, {1, rows_, x.shape[2], x.shape[3]},
                                               "video encoder lowest resolution"));
  OVI_RETURN_IF_ERROR(AllGatherRows(sharding_, &runtime_.stream, x, whole));
  return whole;
}

absl::StatusOr<Tensor> VideoVaeEncoder::RunLevel(const Level& level, const Tensor& x, bool first,
                                                 const BetweenBlocks& between) {
  const std::int64_t space = level.layout.space_factor();
  const std::int64_t time = level.layout.time_factor();
  const std::int64_t channels = level.layout.out_channels;
  const Shape out_shape{first ? 1 : x.shape[0] / time, x.shape[1] / space, x.shape[2] / space, channels};
  OVI_ASSIGN_OR_RETURN(const Tensor out,
                       runtime_.arena.Allocate(DType::kF32, out_shape, "video encoder level"));
  if (level.layout.resamples) {
    ArenaScope scope(runtime_.arena);
    Shape shape = x.shape;
    shape.set(3, channels);
    OVI_ASSIGN_OR_RETURN(const Tensor y,
                         runtime_.arena.Allocate(DType::kF32, shape, "video encoder residual blocks"));
    OVI_RETURN_IF_ERROR(level.residuals.Run(runtime_, x, y, between));
    OVI_RETURN_IF_ERROR(Shrink(level, y, first, out));
  } else {
    OVI_RETURN_IF_ERROR(level.residuals.Run(runtime_, x, out, between));
  }
  runtime_.stream.Run(DownShortcut{.in = x, .time_factor = time, .space_factor = space, .x = out});
  OVI_RETURN_IF_ERROR(Pause(between));
  return out;
}

// x (T, H, W, C) to out (T or T / 2, H / 2, W / 2, C).
absl::Status VideoVaeEncoder::Shrink(const Level& level, const Tensor& x, bool first, const Tensor& out) {
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor in, video_vae::WithHalo(runtime_, halving_halo_, x));
  const auto halve_space = [&](const Tensor& to) {
    runtime_.stream.Run(Conv{.in = in,
                             .weight = &level.resample.weight,
                             .bias = level.resample.bias,
                             .stride = {1, 2, 2},
                             .pad_after = video_vae::PadAfter(halving_halo_),
                             .out = to});
  };
  if (!level.layout.time) {
    halve_space(out);
  } else if (first) {
    // The first frame passes by the temporal convolution, which only remembers it.
    halve_space(out);
    level.history.Save(runtime_, out);
  } else {
    OVI_ASSIGN_OR_RETURN(const Tensor opened, level.history.Open(runtime_, x.shape[0]));
    halve_space(level.history.Fresh(opened));
    runtime_.stream.Run(Conv{.in = opened,
                             .weight = &level.time.weight,
                             .bias = level.time.bias,
                             .stride = {2, 1, 1},
                             .out = out});
    level.history.Save(runtime_, opened);
  }
  return absl::OkStatus();
}

}  // namespace ovi
