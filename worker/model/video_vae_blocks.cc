#include "worker/model/video_vae_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace ovi::video_vae {
namespace {

// The 1x3x3 kernel that meets the newest frame, out of a 3x3x3 one.
absl::StatusOr<ConvParams> LoadLastTap(ParamLoader& loader, const std::string& prefix, std::int64_t co,
                                       std::int64_t ci) {
  constexpr std::int64_t kTap = 9;
  const std::string name = prefix + ".weight";
  std::vector<float> values(static_cast<std::size_t>(co * ci * kTap));
  if (loader.reads_values()) {  // a plan does not, and the kernels of the original are a gigabyte
    OVI_ASSIGN_OR_RETURN(values, loader.Values(name, co * ci * 3 * kTap));
    for (std::int64_t i = 0; i < co * ci; ++i) {  // towards the front, so in place
      std::copy_n(values.begin() + (i * 3 + 2) * kTap, kTap, values.begin() + i * kTap);
    }
  }
  const std::span<const float> last_tap(values.data(), static_cast<std::size_t>(co * ci * kTap));
  OVI_ASSIGN_OR_RETURN(ConvParams params, loader.ConvFrom(last_tap, co, ci, {1, 3, 3}, name));
  OVI_ASSIGN_OR_RETURN(params.bias, loader.Vector(prefix + ".bias", co));
  return params;
}

void NormTo(const Runtime& runtime, const Tensor& x, const Tensor& gamma, Activation activation,
            const Tensor& out) {
  runtime.stream.Run(ChannelNorm{
      .x = FlatPositions(x), .weight = gamma, .activation = activation, .out = FlatPositions(out)});
}

}  // namespace

Tensor FlatPositions(const Tensor& x) {
  return x.Reshaped({x.shape[0] * x.shape[1] * x.shape[2], x.shape[3]});
}

void RunPointwise(const Runtime& runtime, const LinearParams& params, const Tensor& x, const Tensor& out) {
  runtime.stream.Run(
      Gemm{.a = FlatPositions(x), .weight = &params.weight, .bias = params.bias, .out = FlatPositions(out)});
}

absl::StatusOr<Tensor> WithHalo(const Runtime& runtime, const RowHalo& halo, const Tensor& x) {
  Tensor frames = x;
  if (!halo.empty()) {
    const Shape shape{x.shape[0], halo.above() + x.shape[1] + halo.below(), x.shape[2], x.shape[3]};
    OVI_ASSIGN_OR_RETURN(frames, runtime.arena.Allocate(DType::kF32, shape, "video autoencoder halo"));
    for (std::int64_t t = 0; t < x.shape[0]; ++t) {
      runtime.stream.Copy(halo.Inner(frames.Slice(t, 1)), x.Slice(t, 1));
    }
  }
  OVI_RETURN_IF_ERROR(halo.Exchange(runtime.stream, frames));
  return frames;
}

absl::Status FrameHistory::Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols,
                                 const RowHalo& halo) {
  rows_ = halo.above() + rows + halo.below();
  cols_ = cols;
  halo_ = halo;
  if (frames_ == 0) return absl::OkStatus();
  OVI_ASSIGN_OR_RETURN(remembered_, runtime.arena.Allocate(DType::kF32, {frames_, rows_, cols_, channels_},
                                                           "video autoencoder frame history"));
  runtime.stream.Run(Fill{.out = remembered_, .value = 0.0f});
  return absl::OkStatus();
}

absl::StatusOr<Tensor> FrameHistory::Open(const Runtime& runtime, std::int64_t frames) const {
  OVI_ASSIGN_OR_RETURN(Tensor opened,
                       runtime.arena.Allocate(DType::kF32, {frames_ + frames, rows_, cols_, channels_},
                                              "video autoencoder convolution input"));
  if (frames_ > 0) runtime.stream.Copy(opened.Slice(0, frames_), remembered_);
  return opened;
}

void FrameHistory::Save(const Runtime& runtime, const Tensor& frames) const {
  if (frames_ == 0) return;
  runtime.stream.Copy(remembered_, frames.Slice(frames.shape[0] - frames_, frames_));
}

absl::StatusOr<CausalConv> CausalConv::Load(ParamLoader& loader, const std::string& prefix, std::int64_t co,
                                            std::int64_t ci, VideoVaeInput input) {
  CausalConv conv;
  if (input == VideoVaeInput::kImage) {
    OVI_ASSIGN_OR_RETURN(conv.params, LoadLastTap(loader, prefix, co, ci));
    conv.history = FrameHistory(0, ci);
  } else {
    OVI_ASSIGN_OR_RETURN(conv.params, loader.Conv(prefix, co, ci, {3, 3, 3}, ParamLoader::Bias::kYes));
    conv.history = FrameHistory(2, ci);
  }
  return conv;
}

void CausalConv::Run(const Runtime& runtime, const Tensor& opened, const Tensor& residual,
                     const Tensor& out) const {
  runtime.stream.Run(Conv{.in = opened,
                          .weight = &params.weight,
                          .bias = params.bias,
                          .pad_before = PadBefore(history.halo()),
                          .pad_after = PadAfter(history.halo()),
                          .residual = residual,
                          .out = out});
  history.Save(runtime, opened);
}

absl::StatusOr<NormConv> NormConv::Load(ParamLoader& loader, const std::string& norm_name,
                                        const std::string& conv_prefix, std::int64_t co, std::int64_t ci,
                                        VideoVaeInput input) {
  NormConv layer;
  OVI_ASSIGN_OR_RETURN(layer.gamma, loader.Vector(norm_name, ci));
  OVI_ASSIGN_OR_RETURN(layer.conv, CausalConv::Load(loader, conv_prefix, co, ci, input));
  return layer;
}

absl::StatusOr<Tensor> NormConv::Prepare(const Runtime& runtime, const Tensor& x) const {
  OVI_ASSIGN_OR_RETURN(const Tensor opened, conv.history.Open(runtime, x.shape[0]));
  OVI_RETURN_IF_ERROR(
      conv.history.FillFresh(runtime, opened, [&](std::int64_t begin, std::int64_t count, const Tensor& to) {
        NormTo(runtime, x.Slice(begin, count), gamma, Activation::kSilu, to);
      }));
  return opened;
}

absl::Status NormConv::Run(const Runtime& runtime, const Tensor& x, const Tensor& out) const {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor opened, Prepare(runtime, x));
  conv.Run(runtime, opened, /*residual=*/{}, out);
  return absl::OkStatus();
}

absl::StatusOr<ResidualBlock> ResidualBlock::Load(ParamLoader& loader, const std::string& prefix,
                                                  std::int64_t ci, std::int64_t co, VideoVaeInput input) {
  ResidualBlock block;
  const std::string residual = prefix + ".residual";
  OVI_ASSIGN_OR_RETURN(block.first,
                       NormConv::Load(loader, residual + ".0.gamma", residual + ".2", co, ci, input));
  OVI_ASSIGN_OR_RETURN(block.second,
                       NormConv::Load(loader, residual + ".3.gamma", residual + ".6", co, co, input));
  if (ci != co) {
    // A convolution and no matrix product, whose bits may depend on the number of rows.
    OVI_ASSIGN_OR_RETURN(block.shortcut,
                         loader.Conv(prefix + ".shortcut", co, ci, {1, 1, 1}, ParamLoader::Bias::kYes));
  }
  return block;
}

absl::Status ResidualBlock::Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols,
                                  const RowHalo& halo) {
  OVI_RETURN_IF_ERROR(first.Begin(runtime, rows, cols, halo));
  return second.Begin(runtime, rows, cols, halo);
}

absl::Status ResidualBlock::Run(const Runtime& runtime, const Tensor& x, const Tensor& hidden,
                                const Tensor& out) const {
  OVI_CHECK(out.data == hidden.data || (out.data == x.data && !shortcut));
  OVI_RETURN_IF_ERROR(first.Run(runtime, x, hidden));
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor opened, second.Prepare(runtime, hidden));
  // `hidden` has served: the shortcut's result takes its place.
  if (shortcut) {
    runtime.stream.Run(Conv{.in = x, .weight = &shortcut->weight, .bias = shortcut->bias, .out = hidden});
  }
  second.conv.Run(runtime, opened, /*residual=*/shortcut ? hidden : x, out);
  return absl::OkStatus();
}

absl::StatusOr<ResidualChain> ResidualChain::Load(ParamLoader& loader, const std::string& prefix,
                                                  std::int64_t count, const VideoVaeLevel& level,
                                                  VideoVaeInput input) {
  ResidualChain chain;
  std::int64_t channels = level.in_channels;
  for (std::int64_t i = 0; i < count; ++i) {
    OVI_ASSIGN_OR_RETURN(
        chain.blocks.emplace_back(),
        ResidualBlock::Load(loader, absl::StrCat(prefix, ".", i), channels, level.out_channels, input));
    channels = level.out_channels;
  }
  return chain;
}

absl::Status ResidualChain::Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols,
                                  const RowHalo& halo) {
  for (ResidualBlock& block : blocks) OVI_RETURN_IF_ERROR(block.Begin(runtime, rows, cols, halo));
  return absl::OkStatus();
}

absl::Status ResidualChain::Run(const Runtime& runtime, const Tensor& x, const Tensor& out,
                                const BetweenBlocks& between) const {
  OVI_RETURN_IF_ERROR(blocks.front().Run(runtime, x, /*hidden=*/out, out));
  OVI_RETURN_IF_ERROR(Pause(between));
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor hidden,
                       runtime.arena.Allocate(DType::kF32, out.shape, "video autoencoder residual block"));
  for (std::size_t i = 1; i < blocks.size(); ++i) {
    OVI_RETURN_IF_ERROR(blocks[i].Run(runtime, out, hidden, out));
    OVI_RETURN_IF_ERROR(Pause(between));
  }
  return absl::OkStatus();
}

absl::StatusOr<PixelAttention> PixelAttention::Load(ParamLoader& loader, const std::string& prefix,
                                                    std::int64_t channels) {
  PixelAttention layer;
  OVI_ASSIGN_OR_RETURN(layer.gamma, loader.Vector(prefix + ".norm.gamma", channels));
  // One matrix holds q, k and v below each other.
  const std::string name = prefix + ".to_qkv";
  OVI_ASSIGN_OR_RETURN(const std::vector<float> weight,
                       loader.Values(name + ".weight", 3 * channels * channels));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> bias, loader.Values(name + ".bias", 3 * channels));
  const std::size_t rows = static_cast<std::size_t>(channels);
  LinearParams* const parts[] = {&layer.q, &layer.k, &layer.v};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto weight_part = std::span(weight).subspan(i * rows * rows, rows * rows);
    const auto bias_part = std::span(bias).subspan(i * rows, rows);
    OVI_ASSIGN_OR_RETURN(*parts[i], loader.LinearFrom(weight_part, channels, channels, name));
    OVI_ASSIGN_OR_RETURN(parts[i]->bias, loader.VectorFrom(bias_part, name));
  }
  OVI_ASSIGN_OR_RETURN(layer.proj,
                       loader.Linear(prefix + ".proj", channels, channels, ParamLoader::Bias::kYes));
  return layer;
}

absl::Status PixelAttention::Run(const Runtime& runtime, const Tensor& x) const {
  const std::int64_t pixels = x.shape[1] * x.shape[2];
  const std::int64_t channels = x.shape[3];
  ArenaScope scope(runtime.arena);
  std::array<Tensor, 4> buffers;
  for (Tensor& buffer : buffers) {
    OVI_ASSIGN_OR_RETURN(buffer, runtime.arena.Allocate(DType::kF32, {1, x.shape[1], x.shape[2], channels},
                                                        "video autoencoder attention"));
  }
  const auto& [normed, query, key, value] = buffers;
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const Tensor frame = x.Slice(t, 1);
    NormTo(runtime, frame, gamma, Activation::kNone, normed);
    RunPointwise(runtime, q, normed, query);
    RunPointwise(runtime, k, normed, key);
    RunPointwise(runtime, v, normed, value);
    runtime.stream.Run(Attention{.q = FlatPositions(query),
                                 .k = FlatPositions(key),
                                 .v = FlatPositions(value),
                                 .heads = 1,
                                 .keys = pixels,
                                 .scale = 1.0f / std::sqrt(static_cast<float>(channels)),
                                 .out = FlatPositions(normed)});
    runtime.stream.Run(Gemm{.a = FlatPositions(normed),
                            .weight = &proj.weight,
                            .bias = proj.bias,
                            .residual = FlatPositions(frame),
                            .out = FlatPositions(frame)});
  }
  return absl::OkStatus();
}

absl::StatusOr<MiddleBlock> MiddleBlock::Load(ParamLoader& loader, const std::string& prefix,
                                              std::int64_t channels, VideoVaeInput input) {
  MiddleBlock middle;
  OVI_ASSIGN_OR_RETURN(middle.first, ResidualBlock::Load(loader, prefix + ".0", channels, channels, input));
  OVI_ASSIGN_OR_RETURN(middle.attention, PixelAttention::Load(loader, prefix + ".1", channels));
  OVI_ASSIGN_OR_RETURN(middle.last, ResidualBlock::Load(loader, prefix + ".2", channels, channels, input));
  return middle;
}

absl::Status MiddleBlock::Begin(const Runtime& runtime, std::int64_t rows, std::int64_t cols) {
  OVI_RETURN_IF_ERROR(first.Begin(runtime, rows, cols));
  return last.Begin(runtime, rows, cols);
}

absl::Status MiddleBlock::Run(const Runtime& runtime, const Tensor& x, const BetweenBlocks& between) const {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor hidden,
                       runtime.arena.Allocate(DType::kF32, x.shape, "video autoencoder middle block"));
  OVI_RETURN_IF_ERROR(first.Run(runtime, x, hidden, x));
  OVI_RETURN_IF_ERROR(Pause(between));
  OVI_RETURN_IF_ERROR(attention.Run(runtime, x));
  OVI_RETURN_IF_ERROR(Pause(between));
  OVI_RETURN_IF_ERROR(last.Run(runtime, x, hidden, x));
  return Pause(between);
}

}  // namespace ovi::video_vae
