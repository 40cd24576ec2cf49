#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/model/video_vae.h"

namespace ovi {

using video_vae::CausalConv;
using video_vae::FrameHistory;
using video_vae::MiddleBlock;
using video_vae::NormConv;
using video_vae::Pause;
using video_vae::ResidualChain;

absl::StatusOr<std::unique_ptr<VideoVaeDecoder>> VideoVaeDecoder::Load(const Runtime& runtime,
                                                                       const VideoVaeConfig& config,
                                                                       const WeightSource& source,
                                                                       PrecisionPolicy policy) {
  OVI_RETURN_IF_ERROR(CheckVideoVaeConfig(config));
  const bool bf16_weights = policy == PrecisionPolicy::kAsExecuted;
  ParamLoader loader(runtime, source, {.compute = DType::kF32, .bf16_weights = bf16_weights});
  ParamLoader exact(runtime, source, {});  // the original keeps the latents' statistics in f32
  std::unique_ptr<VideoVaeDecoder> decoder(new VideoVaeDecoder(runtime, config));
  OVI_ASSIGN_OR_RETURN(decoder->mean_, exact.VectorFrom(config.mean, "latent mean"));
  OVI_ASSIGN_OR_RETURN(decoder->std_, exact.VectorFrom(config.std, "latent standard deviation"));
  OVI_ASSIGN_OR_RETURN(decoder->latent_in_,
                       loader.Linear("conv2", config.z_dim, config.z_dim, ParamLoader::Bias::kYes));
  const std::vector<VideoVaeLevel> levels = VideoVaeDecoderLevels(config);
  const std::int64_t channels = levels.front().in_channels;
  OVI_ASSIGN_OR_RETURN(decoder->conv_in_, CausalConv::Load(loader, "decoder.conv1", channels, config.z_dim,
                                                           VideoVaeInput::kClip));
  OVI_ASSIGN_OR_RETURN(decoder->middle_,
                       MiddleBlock::Load(loader, "decoder.middle", channels, VideoVaeInput::kClip));
  decoder->levels_.resize(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    OVI_RETURN_IF_ERROR(decoder->LoadLevel(loader, i, levels[i]));
  }
  OVI_ASSIGN_OR_RETURN(decoder->head_, NormConv::Load(loader, "decoder.head.0.gamma", "decoder.head.2",
                                                      3 * config.patch * config.patch,
                                                      levels.back().out_channels, VideoVaeInput::kClip));
  return decoder;
}

absl::Status VideoVaeDecoder::LoadLevel(ParamLoader& loader, std::size_t index, const VideoVaeLevel& layout) {
  Level& level = levels_[index];
  level.layout = layout;
  const std::int64_t channels = layout.out_channels;
  const std::int64_t residuals = config_.res_blocks + 1;
  const std::string prefix = absl::StrCat("decoder.upsamples.", index, ".upsamples");
  OVI_ASSIGN_OR_RETURN(level.residuals,
                       ResidualChain::Load(loader, prefix, residuals, layout, VideoVaeInput::kClip));
  if (!layout.resamples) return absl::OkStatus();
  const std::string resample = absl::StrCat(prefix, ".", residuals);
  OVI_ASSIGN_OR_RETURN(level.resample, loader.Conv(resample + ".resample.1", channels, channels, {1, 3, 3},
                                                   ParamLoader::Bias::kYes));
  if (!layout.time) return absl::OkStatus();
  // The convolution's first half of output channels is the even frame, the second half the odd one: two
  // convolutions write them where they belong.
  const std::string name = resample + ".time_conv";
  OVI_ASSIGN_OR_RETURN(const std::vector<float> weight,
                       loader.Values(name + ".weight", 2 * channels * channels * 3));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> bias, loader.Values(name + ".bias", 2 * channels));
  ConvParams* const halves[] = {&level.time_even, &level.time_odd};
  for (std::size_t i = 0; i < 2; ++i) {
    const auto weight_half = std::span(weight).subspan(i * weight.size() / 2, weight.size() / 2);
    const auto bias_half = std::span(bias).subspan(i * bias.size() / 2, bias.size() / 2);
    OVI_ASSIGN_OR_RETURN(*halves[i], loader.ConvFrom(weight_half, channels, channels, {3, 1, 1}, name));
    OVI_ASSIGN_OR_RETURN(halves[i]->bias, loader.VectorFrom(bias_half, name));
  }
  level.history = FrameHistory(2, channels);
  return absl::OkStatus();
}

absl::Status VideoVaeDecoder::Begin(std::int64_t rows, std::int64_t cols, const RowSharding& sharding) {
  rows_ = rows;
  cols_ = cols;
  own_rows_ = sharding.RowsOfThisRank(rows);
  halo_ = RowHalo(sharding, RowHalo::Reads::kAboveAndBelow);
  ShardRange level_rows = own_rows_;
  for (Level& level : levels_) {
    level.rows = level_rows;
    const std::int64_t factor = level.layout.space_factor();
    level_rows = {factor * level_rows.begin, factor * level_rows.end};
  }
  return AllocateClip(cols);
}

absl::Status VideoVaeDecoder::BeginStrip(std::int64_t rows, std::int64_t cols, const ShardRange& strip) {
  rows_ = rows;
  cols_ = cols;
  own_rows_ = strip;
  halo_ = RowHalo();
  const std::vector<ShardRange> reads = VideoVaeDecoderStripRows(config_, rows, strip);
  for (std::size_t i = 0; i < levels_.size(); ++i) levels_[i].rows = reads[i];
  return AllocateClip(cols);
}

absl::Status VideoVaeDecoder::AllocateClip(std::int64_t cols) {
  latent_frames_ = 0;
  const std::int64_t factor = config_.spatial_factor();
  const Shape result_shape{config_.temporal_factor(), factor * own_rows_.size(), factor * cols, 3};
  OVI_ASSIGN_OR_RETURN(result_, runtime_.arena.Allocate(DType::kF32, result_shape, "decoded frames"));
  if (own_rows_.size() == 0) return absl::OkStatus();
  OVI_RETURN_IF_ERROR(conv_in_.history.Begin(runtime_, rows_, cols));
  OVI_RETURN_IF_ERROR(middle_.Begin(runtime_, rows_, cols));
  for (Level& level : levels_) {
    OVI_RETURN_IF_ERROR(level.residuals.Begin(runtime_, level.rows.size(), cols, halo_));
    if (level.layout.time) OVI_RETURN_IF_ERROR(level.history.Begin(runtime_, level.rows.size(), cols, halo_));
    cols *= level.layout.space_factor();
  }
  return head_.Begin(runtime_, levels_.back().rows.size(), cols, halo_);
}

absl::StatusOr<Tensor> VideoVaeDecoder::DecodeNext(const Tensor& latent_frame,
                                                   const std::function<absl::Status()>& between_blocks) {
  if (own_rows_.size() == 0) {
    return result_.Slice(0, latent_frames_++ == 0 ? 1 : config_.temporal_factor());
  }
  const Shape latent_shape{1, rows_, cols_, config_.z_dim};
  result_frames_ = 0;

  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor x, runtime_.arena.Allocate(
                                           DType::kF32, {1, rows_, cols_, levels_.front().layout.in_channels},
                                           "video decoder input"));
  {
    ArenaScope latent_scope(runtime_.arena);
    OVI_ASSIGN_OR_RETURN(const Tensor latent,
                         runtime_.arena.Allocate(DType::kF32, latent_shape, "latent frame"));
    OVI_ASSIGN_OR_RETURN(const Tensor opened, conv_in_.history.Open(runtime_, 1));
    runtime_.stream.Run(Elementwise{
        .kind = ElementwiseKind::kMul, .a = latent_frame.Reshaped(latent_shape), .b = std_, .out = latent});
    runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kAxpby, .a = latent, .b = mean_, .out = latent});
    video_vae::RunPointwise(runtime_, latent_in_, latent, conv_in_.history.Fresh(opened));
    conv_in_.Run(runtime_, opened, /*residual=*/{}, x);
  }
  OVI_RETURN_IF_ERROR(middle_.Run(runtime_, x, between_blocks));
  const ShardRange& rows = levels_.front().rows;
  OVI_RETURN_IF_ERROR(DecodeFrom(0, RowsOf(x, rows.begin, rows.size()), between_blocks));
  ++latent_frames_;
  return result_.Slice(0, result_frames_);
}

absl::Status VideoVaeDecoder::DecodeFrom(std::size_t index, const Tensor& x, const BetweenBlocks& between) {
  const Level& level = levels_[index];
  const std::int64_t rows = x.shape[1];
  const std::int64_t cols = x.shape[2];
  const std::int64_t channels = level.layout.out_channels;
  // The clip's first frame stays one frame through all levels.
  const bool first = latent_frames_ == 0;
  const std::int64_t frames = first ? 1 : level.layout.time_factor();

  ArenaScope scope(runtime_.arena);
  Tensor out;  // below the level's own buffers, which are gone when it is decoded further
  if (level.layout.resamples) {
    OVI_ASSIGN_OR_RETURN(out, runtime_.arena.Allocate(DType::kF32, {frames, 2 * rows, 2 * cols, channels},
                                                      "video decoder level"));
  }
  {
    ArenaScope level_scope(runtime_.arena);
    OVI_ASSIGN_OR_RETURN(const Tensor y, runtime_.arena.Allocate(DType::kF32, {1, rows, cols, channels},
                                                                 "video decoder residual blocks"));
    OVI_RETURN_IF_ERROR(level.residuals.Run(runtime_, x, y, between));
    if (!level.layout.resamples) return Finish(y);
    OVI_RETURN_IF_ERROR(Enlarge(level, y, out));
  }
  runtime_.stream.Run(UpShortcut{.in = x,
                                 .time_factor = level.layout.time_factor(),
                                 .drop = level.layout.time_factor() - frames,
                                 .x = out});
  OVI_RETURN_IF_ERROR(Pause(between));
  const ShardRange& next = levels_[index + 1].rows;
  for (std::int64_t t = 0; t < frames; ++t) {
    OVI_RETURN_IF_ERROR(DecodeFrom(
        index + 1, RowsOf(out.Slice(t, 1), next.begin - 2 * level.rows.begin, next.size()), between));
  }
  return absl::OkStatus();
}

// x (1, H, W, C) to out (1 or 2, 2H, 2W, C).
absl::Status VideoVaeDecoder::Enlarge(const Level& level, const Tensor& x, const Tensor& out) {
  ArenaScope scope(runtime_.arena);
  const std::int64_t halo_rows = halo_.above() + halo_.below();
  const std::int64_t cols = x.shape[2];
  const std::int64_t channels = x.shape[3];
  const Shape shape{1, x.shape[1] + halo_rows, cols, channels};
  OVI_ASSIGN_OR_RETURN(const Tensor large,
                       runtime_.arena.Allocate(DType::kF32, {1, 2 * shape[1], 2 * cols, channels},
                                               "video decoder enlarged frame"));
  // The first frame of a clip passes by the temporal convolution, which does not even remember it. Halo rows
  // are exchanged before it, once for both of its frames, rather than after the enlargement.
  const bool through_time = level.layout.time && latent_frames_ > 0;
  Tensor opened;
  Tensor frame;
  if (through_time) {
    OVI_ASSIGN_OR_RETURN(frame,
                         runtime_.arena.Allocate(DType::kF32, shape, "video decoder interpolated frame"));
    OVI_ASSIGN_OR_RETURN(opened, level.history.Open(runtime_, 1));
    OVI_RETURN_IF_ERROR(level.history.FillFresh(
        runtime_, opened,
        [&](std::int64_t, std::int64_t, const Tensor& to) { runtime_.stream.Copy(to, x); }));
    level.history.Save(runtime_, opened);
  } else {
    OVI_ASSIGN_OR_RETURN(frame, video_vae::WithHalo(runtime_, halo_, x));
  }
  // One of the two rows that a halo row becomes is next to this rank's.
  const Tensor large_read = RowsOf(large, halo_.above(), 2 * x.shape[1] + halo_rows);
  for (std::int64_t t = 0; t < out.shape[0]; ++t) {
    if (through_time) {
      const ConvParams& params = t == 0 ? level.time_even : level.time_odd;
      runtime_.stream.Run(Conv{.in = opened, .weight = &params.weight, .bias = params.bias, .out = frame});
    }
    runtime_.stream.Run(Upsample{.in = frame, .out = large});
    runtime_.stream.Run(Conv{.in = large_read,
                             .weight = &level.resample.weight,
                             .bias = level.resample.bias,
                             .pad_before = video_vae::PadBefore(halo_),
                             .pad_after = video_vae::PadAfter(halo_),
                             .out = out.Slice(t, 1)});
  }
  return absl::OkStatus();
}

// x (1, H, W, C), the last level's result, to one frame of pixels.
absl::Status VideoVaeDecoder::Finish(const Tensor& x) {
  const std::int64_t patch = config_.patch;
  const std::int64_t rows = x.shape[1];
  const std::int64_t cols = x.shape[2];
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(
      const Tensor patches,
      runtime_.arena.Allocate(DType::kF32, {1, rows, cols, 3 * patch * patch}, "video decoder patches"));
  OVI_RETURN_IF_ERROR(head_.Run(runtime_, x, patches));
  // A patch's channels are (colour, column, row), row fastest: (y, x, c, r, q) to (y, q, x, r, c).
  OVI_CHECK(result_frames_ < result_.shape[0]);
  const Tensor pixels = result_.Slice(result_frames_++, 1);
  // Without the rows around a strip.
  const std::int64_t own_rows = pixels.shape[1] / patch;
  const std::int64_t rows_of_latent = own_rows / own_rows_.size();
  const std::int64_t above = rows_of_latent * own_rows_.begin - levels_.back().rows.begin;
  runtime_.stream.Run(
      Permute{.in = RowsOf(patches, above, own_rows).Reshaped({own_rows, cols, 3, patch, patch}),
              .axes = {0, 4, 1, 3, 2},
              .out = pixels.Reshaped({own_rows, patch, cols, patch, 3})});
  return absl::OkStatus();
}

}  // namespace ovi
