#include "worker/model/video_vae_layout.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

// Collects specs under the checkpoint's names.
class Table {
 public:
  void Add(const std::string& name, const Shape& shape) { specs_.push_back({name, shape}); }

  // A weight and its bias, one value for each extent-0 entry.
  void Layer(const std::string& prefix, const Shape& weight) {
    Add(prefix + ".weight", weight);
    Add(prefix + ".bias", {weight[0]});
  }

  void Residual(const std::string& prefix, std::int64_t ci, std::int64_t co) {
    Add(prefix + ".residual.0.gamma", {ci, 1, 1, 1});
    Layer(prefix + ".residual.2", {co, ci, 3, 3, 3});
    Add(prefix + ".residual.3.gamma", {co, 1, 1, 1});
    Layer(prefix + ".residual.6", {co, co, 3, 3, 3});
    if (ci != co) Layer(prefix + ".shortcut", {co, ci, 1, 1, 1});
  }

  void Middle(const std::string& prefix, std::int64_t channels) {
    Residual(prefix + ".0", channels, channels);
    Add(prefix + ".1.norm.gamma", {channels, 1, 1});
    Layer(prefix + ".1.to_qkv", {3 * channels, channels, 1, 1});
    Layer(prefix + ".1.proj", {channels, channels, 1, 1});
    Residual(prefix + ".2", channels, channels);
  }

  // `time_conv_factor`: output channels of the temporal convolution, per channel.
  void Level(const std::string& prefix, const VideoVaeLevel& level, std::int64_t residuals,
             std::int64_t time_conv_factor) {
    const std::int64_t channels = level.out_channels;
    for (std::int64_t i = 0; i < residuals; ++i) {
      Residual(absl::StrCat(prefix, ".", i), i == 0 ? level.in_channels : channels, channels);
    }
    if (!level.resamples) return;
    const std::string resample = absl::StrCat(prefix, ".", residuals);
    Layer(resample + ".resample.1", {channels, channels, 3, 3});
    if (level.time) Layer(resample + ".time_conv", {time_conv_factor * channels, channels, 3, 1, 1});
  }

  void Head(const std::string& prefix, std::int64_t ci, std::int64_t co) {
    Add(prefix + ".0.gamma", {ci, 1, 1, 1});
    Layer(prefix + ".2", {co, ci, 3, 3, 3});
  }

  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

// Channels of all 3x3x3 convolutions' inputs in a chain of so many residual blocks.
std::int64_t ResidualInputs(const VideoVaeLevel& level, std::int64_t blocks) {
  return level.in_channels + (2 * blocks - 1) * level.out_channels;
}

}  // namespace

std::vector<VideoVaeLevel> VideoVaeEncoderLevels(const VideoVaeConfig& config) {
  std::vector<VideoVaeLevel> levels;
  std::int64_t channels = config.encoder_dim;
  for (std::size_t i = 0; i < config.dim_mult.size(); ++i) {
    const bool resamples = i + 1 < config.dim_mult.size();
    levels.push_back({.in_channels = channels,
                      .out_channels = config.encoder_dim * config.dim_mult[i],
                      .resamples = resamples,
                      .time = resamples && config.temporal_downsample[i]});
    channels = levels.back().out_channels;
  }
  return levels;
}

std::vector<VideoVaeLevel> VideoVaeDecoderLevels(const VideoVaeConfig& config) {
  std::vector<VideoVaeLevel> levels;
  std::int64_t channels = config.decoder_dim * config.dim_mult.back();
  for (std::size_t i = config.dim_mult.size(); i-- > 0;) {
    levels.push_back({.in_channels = channels,
                      .out_channels = config.decoder_dim * config.dim_mult[i],
                      .resamples = i > 0,
                      .time = i > 0 && config.temporal_downsample[i - 1]});
    channels = levels.back().out_channels;
  }
  return levels;
}

absl::Status CheckVideoVaeConfig(const VideoVaeConfig& config) {
  const auto refuse = [](std::string_view half, const VideoVaeLevel& level) {
    return absl::InvalidArgumentError(absl::StrCat(
        "video autoencoder config: dim_mult: ", std::string(half), " level from ", level.in_channels, " to ",
        level.out_channels, " channels does not divide evenly in its shortcut"));
  };
  for (const VideoVaeLevel& level : VideoVaeEncoderLevels(config)) {
    const std::int64_t fan =
        level.in_channels * level.time_factor() * level.space_factor() * level.space_factor();
    if (fan % level.out_channels != 0) return refuse("encoder", level);
  }
  for (const VideoVaeLevel& level : VideoVaeDecoderLevels(config)) {
    if (!level.resamples) continue;
    if (level.out_channels * level.time_factor() * 4 % level.in_channels != 0)
      return refuse("decoder", level);
  }
  return absl::OkStatus();
}

std::vector<ShardRange> VideoVaeDecoderStripRows(const VideoVaeConfig& config, std::int64_t rows,
                                                 const ShardRange& strip) {
  const std::vector<VideoVaeLevel> levels = VideoVaeDecoderLevels(config);
  std::int64_t scale = 1;  // rows of a level's input, of one latent row
  for (const VideoVaeLevel& level : levels) scale *= level.space_factor();
  const auto grow = [&](const ShardRange& range, std::int64_t by) {
    return ShardRange{std::max<std::int64_t>(range.begin - by, 0), std::min(range.end + by, scale * rows)};
  };
  const std::int64_t chain = 2 * (config.res_blocks + 1);  // convolutions
  std::vector<ShardRange> reads(levels.size());
  // What the head's convolution reads.
  ShardRange needed = grow({scale * strip.begin, scale * strip.end}, 1);
  for (std::size_t i = levels.size(); i-- > 0;) {
    if (levels[i].resamples) {
      const ShardRange large = grow(needed, 1);
      needed = {large.begin / 2, (large.end + 1) / 2};
      scale /= 2;
    }
    needed = grow(needed, chain);
    reads[i] = needed;
  }
  return reads;
}

HaloBytes VideoVaeDecoderHaloBytes(const VideoVaeConfig& config, std::int64_t latent_frames,
                                   std::int64_t cols) {
  std::int64_t values = 0;
  std::int64_t later_frames = latent_frames - 1;  // the first stays one frame through all levels
  for (const VideoVaeLevel& level : VideoVaeDecoderLevels(config)) {
    // Every residual block's two convolutions, then the frame to be enlarged or the head.
    const std::int64_t channels = ResidualInputs(level, config.res_blocks + 1) + level.out_channels;
    values += (1 + later_frames) * cols * channels;
    cols *= level.space_factor();
    later_frames *= level.time_factor();
  }
  const std::int64_t bytes = values * std::int64_t{sizeof(float)};
  return {.above = bytes, .below = bytes};
}

HaloBytes VideoVaeEncoderHaloBytes(const VideoVaeConfig& config, std::int64_t latent_frames,
                                   std::int64_t cols) {
  cols *= config.spatial_factor() / config.patch;
  std::int64_t later_frames = (latent_frames - 1) * config.temporal_factor();
  std::int64_t values = (1 + later_frames) * cols * 3 * config.patch * config.patch;
  std::int64_t values_halved = 0;  // of the frames to be halved, which only read below their rows
  for (const VideoVaeLevel& level : VideoVaeEncoderLevels(config)) {
    values += (1 + later_frames) * cols * ResidualInputs(level, config.res_blocks);
    if (level.resamples) values_halved += (1 + later_frames) * cols * level.out_channels;
    cols /= level.space_factor();
    later_frames /= level.time_factor();
  }
  return {.above = (values + values_halved) * std::int64_t{sizeof(float)},
          .below = values * std::int64_t{sizeof(float)}};
}

std::vector<TensorSpec> VideoVaeTensors(const VideoVaeConfig& config) {
  const std::int64_t pixel_channels = 3 * config.patch * config.patch;
  const std::int64_t z = config.z_dim;
  Table table;

  const std::vector<VideoVaeLevel> down = VideoVaeEncoderLevels(config);
  table.Layer("encoder.conv1", {config.encoder_dim, pixel_channels, 3, 3, 3});
  for (std::size_t i = 0; i < down.size(); ++i) {
    table.Level(absl::StrCat("encoder.downsamples.", i, ".downsamples"), down[i], config.res_blocks, 1);
  }
  table.Middle("encoder.middle", down.back().out_channels);
  table.Head("encoder.head", down.back().out_channels, 2 * z);
  table.Layer("conv1", {2 * z, 2 * z, 1, 1, 1});

  const std::vector<VideoVaeLevel> up = VideoVaeDecoderLevels(config);
  table.Layer("conv2", {z, z, 1, 1, 1});
  table.Layer("decoder.conv1", {up.front().in_channels, z, 3, 3, 3});
  table.Middle("decoder.middle", up.front().in_channels);
  for (std::size_t i = 0; i < up.size(); ++i) {
    table.Level(absl::StrCat("decoder.upsamples.", i, ".upsamples"), up[i], config.res_blocks + 1, 2);
  }
  table.Head("decoder.head", up.back().out_channels, pixel_channels);
  return table.Take();
}

}  // namespace ovi
