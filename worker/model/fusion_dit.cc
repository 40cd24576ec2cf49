#include "worker/model/fusion_dit.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

// Frame-major tokens: the clean frame is a run of tokens at the front.
std::vector<RowSegment> Segments(std::int64_t tokens, std::int64_t clean_tokens) {
  if (clean_tokens == 0) return {{0, tokens}};
  return {{0, clean_tokens}, {clean_tokens, tokens - clean_tokens}};
}

}  // namespace

std::vector<float> TimeSinusoid(const std::vector<double>& timesteps, std::int64_t freq_dim) {
  const std::int64_t half = freq_dim / 2;
  std::vector<float> rows;
  rows.reserve(timesteps.size() * static_cast<std::size_t>(freq_dim));
  for (const double t : timesteps) {
    for (const bool sine : {false, true}) {
      for (std::int64_t j = 0; j < half; ++j) {
        const double angle = t * std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half));
        rows.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
      }
    }
  }
  return rows;
}

absl::StatusOr<std::unique_ptr<FusionDit>> FusionDit::Load(const Runtime& runtime, const FusionConfig& config,
                                                           const WeightSource& source, PrecisionPolicy policy,
                                                           const Check& check) {
  OVI_RETURN_IF_ERROR(CheckFusionConfig(config));
  OVI_RETURN_IF_ERROR(CheckTensors(source, FusionTensors(config)));
  auto dit = std::unique_ptr<FusionDit>(new FusionDit(runtime, config, Bf16NetworkFormat(policy)));
  ParamLoader loader(runtime, source, dit->format_);
  OVI_ASSIGN_OR_RETURN(dit->video_, LoadTower(loader, dit->config_.video, "video_model"));
  OVI_ASSIGN_OR_RETURN(dit->audio_, LoadTower(loader, dit->config_.audio, "audio_model"));
  for (std::int64_t block = 0; block < config.video.layers; ++block) {
    OVI_RETURN_IF_ERROR(check());
    OVI_ASSIGN_OR_RETURN(dit->video_blocks_.emplace_back(),
                         LoadBlock(loader, dit->config_.video, "video_model", block));
    OVI_ASSIGN_OR_RETURN(dit->audio_blocks_.emplace_back(),
                         LoadBlock(loader, dit->config_.audio, "audio_model", block));
  }
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  return dit;
}

absl::StatusOr<Tensor> FusionDit::ToCompute(const Tensor& f32, std::string_view what) const {
  if (format_.compute == DType::kF32) return f32;
  OVI_ASSIGN_OR_RETURN(const Tensor tensor, runtime_.arena.Allocate(format_.compute, f32.shape, what));
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = f32, .out = tensor});
  return tensor;
}

absl::StatusOr<Tensor> FusionDit::EmbedText(Tower tower, const HostTensor& states) const {
  const TowerConfig& c = tower_config(tower);
  const TowerParams& p = tower_params(tower);
  const std::int64_t count = states.shape[0];
  if (count > c.text_len || states.shape[1] != c.text_dim) {
    return absl::InvalidArgumentError(absl::StrCat("text states are ", states.shape.ToString(),
                                                   ", expected at most ", c.text_len, " rows of ",
                                                   c.text_dim));
  }
  OVI_ASSIGN_OR_RETURN(const Tensor embedded,
                       runtime_.arena.Allocate(format_.compute, {c.text_len, c.dim}, "embedded text"));
  ArenaScope scope(runtime_.arena);
  // Rows are padded with zeros before the MLP: padding becomes one constant vector that is attended to.
  OVI_ASSIGN_OR_RETURN(const Tensor wide,
                       runtime_.arena.Allocate(DType::kF32, {c.text_len, c.text_dim}, "text states"));
  runtime_.stream.Run(Fill{.out = wide, .value = 0.0f});
  runtime_.stream.Upload(wide.Slice(0, count), states);
  OVI_ASSIGN_OR_RETURN(const Tensor padded, ToCompute(wide, "text states"));
  OVI_ASSIGN_OR_RETURN(const Tensor hidden, AllocateLike(runtime_, padded, c.text_len, c.dim, "text hidden"));
  runtime_.stream.Run(Gemm{.a = padded,
                           .weight = &p.text_in.weight,
                           .bias = p.text_in.bias,
                           .activation = Activation::kGeluTanh,
                           .out = hidden});
  runtime_.stream.Run(
      Gemm{.a = hidden, .weight = &p.text_out.weight, .bias = p.text_out.bias, .out = embedded});
  return embedded;
}

absl::StatusOr<TextContext> FusionDit::ContextOf(Tower tower, const Tensor& embedded) const {
  TextContext context;
  for (std::int64_t index = 0; index < tower_config(tower).layers; ++index) {
    OVI_ASSIGN_OR_RETURN(context.blocks.emplace_back(),
                         TextKeyValue(runtime_, block(tower, index), tower_config(tower), embedded));
  }
  return context;
}

absl::StatusOr<TextContext> FusionDit::PrepareText(Tower tower, const HostTensor& states) const {
  OVI_ASSIGN_OR_RETURN(const Tensor embedded, EmbedText(tower, states));
  OVI_ASSIGN_OR_RETURN(TextContext context, ContextOf(tower, embedded));
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  return context;
}

absl::StatusOr<TimeEmbedding> FusionDit::EmbedTime(Tower tower, const std::vector<double>& timesteps) const {
  const TowerConfig& c = tower_config(tower);
  const TowerParams& p = tower_params(tower);
  const auto count = static_cast<std::int64_t>(timesteps.size());
  const std::vector<float> sinusoid = TimeSinusoid(timesteps, c.freq_dim);
  TimeEmbedding time;
  OVI_ASSIGN_OR_RETURN(time.e, runtime_.arena.Allocate(format_.compute, {count, c.dim}, "time embedding"));
  OVI_ASSIGN_OR_RETURN(time.e0,
                       runtime_.arena.Allocate(format_.compute, {count, 6 * c.dim}, "time projection"));
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor wide,
                       runtime_.arena.Allocate(DType::kF32, {count, c.freq_dim}, "time sinusoid"));
  runtime_.stream.Upload(wide, HostTensor{sinusoid.data(), DType::kF32, wide.shape});
  OVI_ASSIGN_OR_RETURN(const Tensor rows, ToCompute(wide, "time sinusoid"));
  OVI_ASSIGN_OR_RETURN(const Tensor hidden, AllocateLike(runtime_, rows, count, c.dim, "time hidden"));
  runtime_.stream.Run(Gemm{.a = rows,
                           .weight = &p.time_in.weight,
                           .bias = p.time_in.bias,
                           .activation = Activation::kSilu,
                           .out = hidden});
  runtime_.stream.Run(
      Gemm{.a = hidden, .weight = &p.time_out.weight, .bias = p.time_out.bias, .out = time.e});
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kSilu, .a = time.e, .out = hidden});
  runtime_.stream.Run(
      Gemm{.a = hidden, .weight = &p.time_projection.weight, .bias = p.time_projection.bias, .out = time.e0});
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());  // the sinusoid leaves with this function
  return time;
}

absl::StatusOr<Tensor> FusionDit::PatchVideo(const LatentShape& shape, const Tensor& video) const {
  const TowerConfig& c = config_.video;
  const std::int64_t ph = c.patch[1];
  const std::int64_t pw = c.patch[2];
  const std::int64_t rows = shape.rows / ph;
  const std::int64_t columns = shape.columns / pw;
  const std::int64_t tokens = shape.frames * rows * columns;
  OVI_ASSIGN_OR_RETURN(const Tensor out,
                       runtime_.arena.Allocate(format_.compute, {tokens, c.dim}, "video tokens"));
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor latents, ToCompute(video, "video latents"));
  OVI_ASSIGN_OR_RETURN(
      const Tensor patches,
      runtime_.arena.Allocate(format_.compute, {tokens, c.in_dim * ph * pw}, "video patches"));
  // (c, f, y, dy, x, dx) -> (f, y, x, c, dy, dx): the order of the flattened patch convolution.
  runtime_.stream.Run(Permute{.in = latents.Reshaped({c.in_dim, shape.frames, rows, ph, columns, pw}),
                              .axes = {1, 2, 4, 0, 3, 5},
                              .out = patches.Reshaped({shape.frames, rows, columns, c.in_dim, ph, pw})});
  runtime_.stream.Run(
      Gemm{.a = patches, .weight = &video_.patch.weight, .bias = video_.patch.bias, .out = out});
  return out;
}

absl::StatusOr<Tensor> FusionDit::PatchAudio(const Tensor& audio) const {
  const TowerConfig& c = config_.audio;
  const std::int64_t length = audio.shape[0];
  const std::int64_t hidden = audio_.patch_w1.weight.out_channels;
  const Extent3 pad{0, 0, audio_.patch_conv.weight.kernel[2] / 2};
  OVI_ASSIGN_OR_RETURN(const Tensor out,
                       runtime_.arena.Allocate(format_.compute, {1, 1, length, c.dim}, "audio tokens"));
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor latents, ToCompute(audio, "audio latents"));
  OVI_ASSIGN_OR_RETURN(const Tensor x,
                       runtime_.arena.Allocate(format_.compute, {1, 1, length, c.dim}, "audio patch"));
  OVI_ASSIGN_OR_RETURN(const Tensor a,
                       runtime_.arena.Allocate(format_.compute, {1, 1, length, hidden}, "audio patch w1"));
  OVI_ASSIGN_OR_RETURN(const Tensor b,
                       runtime_.arena.Allocate(format_.compute, {1, 1, length, hidden}, "audio patch w3"));
  Conv conv{.in = latents.Reshaped({1, 1, length, c.in_dim}),
            .weight = &audio_.patch_conv.weight,
            .bias = audio_.patch_conv.bias,
            .pad_before = pad,
            .pad_after = pad,
            .activation = Activation::kSilu,
            .out = x};
  runtime_.stream.Run(conv);
  conv = {.in = x, .weight = &audio_.patch_w1.weight, .pad_before = pad, .pad_after = pad, .out = a};
  runtime_.stream.Run(conv);
  conv.weight = &audio_.patch_w3.weight;
  conv.out = b;
  runtime_.stream.Run(conv);
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kSiluMul, .a = a, .b = b, .out = a});
  conv = {.in = a, .weight = &audio_.patch_w2.weight, .pad_before = pad, .pad_after = pad, .out = out};
  runtime_.stream.Run(conv);
  return out.Reshaped({length, c.dim});
}

absl::StatusOr<TowerStream> FusionDit::MakeStream(Tower tower, const Tensor& tokens,
                                                  const std::vector<float>& rope) const {
  const TowerConfig& c = tower_config(tower);
  const std::int64_t pairs = tower == Tower::kVideo ? c.head_dim() / 2 : SplitPairs(c.head_dim()).time;
  const auto positions = static_cast<std::int64_t>(rope.size()) / (2 * pairs);
  TowerStream stream{.config = &c, .x = tokens, .rope = {}, .keys = positions};
  OVI_ASSIGN_OR_RETURN(stream.rope,
                       runtime_.arena.Allocate(DType::kF32, {positions, pairs, 2}, "rope table"));
  runtime_.stream.Upload(stream.rope, HostTensor{rope.data(), DType::kF32, stream.rope.shape});
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());  // a pass that stops early takes the table with it
  return stream;
}

absl::StatusOr<Tensor> FusionDit::RunHead(Tower tower, const std::vector<RowSegment>& segments,
                                          const Tensor& e, const TowerStream& stream) const {
  const std::int64_t dim = tower_config(tower).dim;
  const std::int64_t rows = e.shape[0];
  // The un-projected time embedding is added to both of the head's vectors.
  OVI_ASSIGN_OR_RETURN(const Tensor twice, runtime_.arena.Allocate(e.dtype, {rows, 2 * dim}, "head time"));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t half = 0; half < 2; ++half) {
      runtime_.stream.Copy(twice.Reshaped({2 * rows, dim}).Slice(2 * row + half, 1), e.Slice(row, 1));
    }
  }
  OVI_ASSIGN_OR_RETURN(const RowModulation mod,
                       Modulate(runtime_, segments, twice, tower_params(tower).head_modulation));
  return Head(runtime_, tower_params(tower), mod, stream);
}

absl::Status FusionDit::WriteVideo(const LatentShape& shape, const Tensor& rows,
                                   const Tensor& velocity) const {
  const TowerConfig& c = config_.video;
  const std::int64_t ph = c.patch[1];
  const std::int64_t pw = c.patch[2];
  const std::int64_t h = shape.rows / ph;
  const std::int64_t w = shape.columns / pw;
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor latents,
                       runtime_.arena.Allocate(rows.dtype, shape.video(), "video velocity"));
  // (f, y, x, dy, dx, c) -> (c, f, y, dy, x, dx): channels are fastest here, unlike in the patches that went
  // in.
  runtime_.stream.Run(Permute{.in = rows.Reshaped({shape.frames, h, w, ph, pw, c.out_dim}),
                              .axes = {5, 0, 1, 3, 2, 4},
                              .out = latents.Reshaped({c.out_dim, shape.frames, h, ph, w, pw})});
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = latents, .out = velocity});
  return absl::OkStatus();
}

absl::Status FusionDit::Forward(const LatentShape& shape, const Pass& pass, const Tensor& video,
                                const Tensor& audio, const Tensor& video_velocity,
                                const Tensor& audio_velocity, const Check& check,
                                const Observer& observer) const {
  const TowerConfig& vc = config_.video;
  const VideoGrid grid{shape.frames, shape.rows / vc.patch[1], shape.columns / vc.patch[2]};
  ArenaScope scope(runtime_.arena);

  const std::vector<double> video_times = pass.first_frame_is_clean ? std::vector<double>{0.0, pass.timestep}
                                                                    : std::vector<double>{pass.timestep};
  OVI_ASSIGN_OR_RETURN(const TimeEmbedding video_time, EmbedTime(Tower::kVideo, video_times));
  OVI_ASSIGN_OR_RETURN(const TimeEmbedding audio_time, EmbedTime(Tower::kAudio, {pass.timestep}));
  const std::int64_t clean = pass.first_frame_is_clean ? grid.rows * grid.columns : 0;
  const std::vector<RowSegment> video_segments = Segments(grid.tokens(), clean);
  const std::vector<RowSegment> audio_segments = Segments(shape.audio_length, 0);

  const std::vector<float> video_rope = VideoRopeTable(grid, vc.head_dim());
  const std::vector<float> audio_rope =
      AudioRopeTable(shape.audio_length, config_.audio.head_dim(), config_.audio.temporal_rope_scaling);
  OVI_ASSIGN_OR_RETURN(const Tensor video_tokens, PatchVideo(shape, video));
  OVI_ASSIGN_OR_RETURN(const Tensor audio_tokens, PatchAudio(audio));
  OVI_ASSIGN_OR_RETURN(TowerStream video_stream, MakeStream(Tower::kVideo, video_tokens, video_rope));
  OVI_ASSIGN_OR_RETURN(TowerStream audio_stream, MakeStream(Tower::kAudio, audio_tokens, audio_rope));

  for (std::int64_t index = 0; index < vc.layers; ++index) {
    OVI_RETURN_IF_ERROR(check());
    if (index == pass.skip_block) continue;
    const auto at = static_cast<std::size_t>(index);
    OVI_RETURN_IF_ERROR(RunBlockPair(runtime_,
                                     {block(Tower::kVideo, index), video_segments, video_time.e0,
                                      pass.video_text->blocks[at], video_stream},
                                     {block(Tower::kAudio, index), audio_segments, audio_time.e0,
                                      pass.audio_text->blocks[at], audio_stream}));
    if (observer) observer(index, video_stream.x, audio_stream.x);
  }

  OVI_ASSIGN_OR_RETURN(const Tensor video_rows,
                       RunHead(Tower::kVideo, video_segments, video_time.e, video_stream));
  OVI_ASSIGN_OR_RETURN(const Tensor audio_rows,
                       RunHead(Tower::kAudio, audio_segments, audio_time.e, audio_stream));
  OVI_RETURN_IF_ERROR(WriteVideo(shape, video_rows, video_velocity));
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = audio_rows, .out = audio_velocity});
  return runtime_.stream.Sync();
}

}  // namespace ovi
