#include "worker/model/fusion_dit.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

// Of the tokens in `range`. Tokens are frame-major: the clean frame is a run of them at the front. Either
// segment may be empty.
std::vector<RowSegment> Segments(const ShardRange& range, std::int64_t clean_tokens) {
  if (clean_tokens == 0) return {{0, range.size()}};
  const std::int64_t clean = std::clamp<std::int64_t>(clean_tokens - range.begin, 0, range.size());
  return {{0, clean}, {clean, range.size() - clean}};
}

const TowerParams& ParamsOf(const FusionParams& params, Tower tower) {
  return tower == Tower::kVideo ? params.video : params.audio;
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
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<FusionWeights> weights,
                       LoadResidentWeights(runtime, config, source, Bf16NetworkFormat(policy), check));
  return std::make_unique<FusionDit>(runtime, config, policy, std::move(weights), std::nullopt);
}

FusionDit::FusionDit(const Runtime& runtime, const FusionConfig& config, PrecisionPolicy policy,
                     std::unique_ptr<FusionWeights> weights, std::optional<SequenceParallel> ranks)
    : runtime_(runtime),
      config_(config),
      format_(Bf16NetworkFormat(policy)),
      weights_(std::move(weights)),
      ranks_(std::move(ranks)) {}

VideoGrid FusionDit::GridOf(const LatentShape& shape) const {
  const std::vector<std::int64_t>& patch = config_.video.patch;
  return {shape.frames, shape.rows / patch[1], shape.columns / patch[2]};
}

absl::StatusOr<Tensor> FusionDit::ToCompute(const Tensor& f32, std::string_view what) const {
  if (format_.compute == DType::kF32) return f32;
  OVI_ASSIGN_OR_RETURN(const Tensor tensor, runtime_.arena.Allocate(format_.compute, f32.shape, what));
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = f32, .out = tensor});
  return tensor;
}

absl::StatusOr<Tensor> FusionDit::EmbedText(const FusionParams& params, Tower tower,
                                            const HostTensor& states) const {
  const TowerConfig& c = tower_config(tower);
  const TowerParams& p = ParamsOf(params, tower);
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

absl::StatusOr<std::vector<TextContext>> FusionDit::PrepareTexts(
    std::span<const TextRequest> requests) const {
  FusionWalk walk = Walk(FusionTextUnits(config_));
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, walk.Next());
  std::vector<Tensor> embedded;
  for (const TextRequest& request : requests) {
    OVI_ASSIGN_OR_RETURN(embedded.emplace_back(), EmbedText(*params, request.tower, request.states));
  }
  std::vector<TextContext> contexts(requests.size());
  for (std::int64_t block = 0; block < config_.video.layers; ++block) {
    OVI_ASSIGN_OR_RETURN(params, walk.Next());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const Tower tower = requests[i].tower;
      OVI_ASSIGN_OR_RETURN(
          contexts[i].blocks.emplace_back(),
          TextKeyValue(runtime_, tower == Tower::kVideo ? params->video_block : params->audio_block,
                       tower_config(tower), embedded[i]));
    }
  }
  OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
  return contexts;
}

absl::StatusOr<TextContext> FusionDit::PrepareText(Tower tower, const HostTensor& states) const {
  const TextRequest request{tower, states};
  OVI_ASSIGN_OR_RETURN(std::vector<TextContext> contexts, PrepareTexts({&request, 1}));
  return std::move(contexts.front());
}

absl::StatusOr<TimeEmbedding> FusionDit::EmbedTime(const FusionParams& params, Tower tower,
                                                   const std::vector<double>& timesteps) const {
  const TowerConfig& c = tower_config(tower);
  const TowerParams& p = ParamsOf(params, tower);
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

absl::StatusOr<Tensor> FusionDit::PatchVideo(const FusionParams& params, const LatentShape& shape,
                                             const ShardRange& range, const Tensor& video) const {
  const TowerConfig& c = config_.video;
  const std::int64_t ph = c.patch[1];
  const std::int64_t pw = c.patch[2];
  const std::int64_t rows = shape.rows / ph;
  const std::int64_t columns = shape.columns / pw;
  const std::int64_t tokens = shape.frames * rows * columns;
  OVI_ASSIGN_OR_RETURN(const Tensor out,
                       runtime_.arena.Allocate(format_.compute, {range.size(), c.dim}, "video tokens"));
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor latents, ToCompute(video, "video latents"));
  OVI_ASSIGN_OR_RETURN(
      const Tensor patches,
      runtime_.arena.Allocate(format_.compute, {tokens, c.in_dim * ph * pw}, "video patches"));
  // (c, f, y, dy, x, dx) -> (f, y, x, c, dy, dx): the order of the flattened patch convolution.
  runtime_.stream.Run(Permute{.in = latents.Reshaped({c.in_dim, shape.frames, rows, ph, columns, pw}),
                              .axes = {1, 2, 4, 0, 3, 5},
                              .out = patches.Reshaped({shape.frames, rows, columns, c.in_dim, ph, pw})});
  runtime_.stream.Run(Gemm{.a = patches.Slice(range.begin, range.size()),
                           .weight = &params.video.patch.weight,
                           .bias = params.video.patch.bias,
                           .out = out});
  return out;
}

absl::StatusOr<Tensor> FusionDit::PatchAudio(FusionWalk& walk, const FusionParams& entry,
                                             const Tensor& audio) const {
  const TowerConfig& c = config_.audio;
  const std::int64_t length = audio.shape[0];
  const std::int64_t hidden = AudioPatchHidden(c.dim);
  const Extent3 pad{0, 0, entry.audio.patch_conv.weight.kernel[2] / 2};
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
  const auto convolve = [&](const Tensor& in, const ConvParams& layer, Activation activation,
                            const Tensor& to) {
    runtime_.stream.Run(Conv{.in = in,
                             .weight = &layer.weight,
                             .bias = layer.bias,
                             .pad_before = pad,
                             .pad_after = pad,
                             .activation = activation,
                             .out = to});
  };
  convolve(latents.Reshaped({1, 1, length, c.in_dim}), entry.audio.patch_conv, Activation::kSilu, x);
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, walk.Next());
  convolve(x, params->audio.patch_w1, Activation::kNone, a);
  OVI_ASSIGN_OR_RETURN(params, walk.Next());
  convolve(x, params->audio.patch_w3, Activation::kNone, b);
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kSiluMul, .a = a, .b = b, .out = a});
  OVI_ASSIGN_OR_RETURN(params, walk.Next());
  convolve(a, params->audio.patch_w2, Activation::kNone, out);
  return out.Reshaped({length, c.dim});
}

absl::StatusOr<TowerStream> FusionDit::MakeStream(Tower tower, const Tensor& tokens,
                                                  std::span<const float> rope) const {
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

absl::StatusOr<Tensor> FusionDit::RunHead(const FusionParams& params, Tower tower,
                                          const std::vector<RowSegment>& segments, const Tensor& e,
                                          const TowerStream& stream) const {
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
                       Modulate(runtime_, segments, twice, ParamsOf(params, tower).head_modulation));
  return Head(runtime_, ParamsOf(params, tower), mod, stream);
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

struct FusionDit::Entry {
  const SequenceShard* shard = nullptr;
  ShardRange range;  // of the video's tokens, those of this rank
  TimeEmbedding video_time, audio_time;
  std::vector<RowSegment> video_segments, audio_segments;
  TowerStream video, audio;  // the tokens, as every pass begins with them
};

struct FusionDit::Lane {
  Pass pass;
  TowerStream video, audio;
};

absl::StatusOr<FusionDit::Entry> FusionDit::Enter(FusionWalk& walk, const LatentShape& shape,
                                                  const Step& step, const Tensor& video, const Tensor& audio,
                                                  const SequenceShard* shard) const {
  const TowerConfig& vc = config_.video;
  const VideoGrid grid = GridOf(shape);
  Entry entry{.shard = shard, .range = shard == nullptr ? ShardRange{0, grid.tokens()} : shard->own_tokens()};
  const std::vector<double> video_times = step.first_frame_is_clean ? std::vector<double>{0.0, step.timestep}
                                                                    : std::vector<double>{step.timestep};
  entry.video_segments = Segments(entry.range, step.first_frame_is_clean ? grid.rows * grid.columns : 0);
  entry.audio_segments = Segments({0, shape.audio_length}, 0);

  OVI_ASSIGN_OR_RETURN(const FusionParams* params, walk.Next());
  OVI_ASSIGN_OR_RETURN(entry.video_time, EmbedTime(*params, Tower::kVideo, video_times));
  OVI_ASSIGN_OR_RETURN(entry.audio_time, EmbedTime(*params, Tower::kAudio, {step.timestep}));
  OVI_ASSIGN_OR_RETURN(const Tensor video_tokens, PatchVideo(*params, shape, entry.range, video));
  OVI_ASSIGN_OR_RETURN(const Tensor audio_tokens, PatchAudio(walk, *params, audio));

  const std::vector<float> video_rope = VideoRopeTable(grid, vc.head_dim());
  const std::vector<float> audio_rope =
      AudioRopeTable(shape.audio_length, config_.audio.head_dim(), config_.audio.temporal_rope_scaling);
  const auto row = static_cast<std::size_t>(vc.head_dim());  // of the table: (cos, sin) of half as many pairs
  const auto own = std::span(video_rope)
                       .subspan(static_cast<std::size_t>(entry.range.begin) * row,
                                static_cast<std::size_t>(entry.range.size()) * row);
  OVI_ASSIGN_OR_RETURN(entry.video, MakeStream(Tower::kVideo, video_tokens, own));
  OVI_ASSIGN_OR_RETURN(entry.audio, MakeStream(Tower::kAudio, audio_tokens, audio_rope));
  entry.video.shard = shard;
  if (shard != nullptr && !shard->audio_tokens.empty()) entry.audio.products = shard;
  return entry;
}

// The first pass takes the tokens themselves, each other one a copy.
absl::StatusOr<std::vector<FusionDit::Lane>> FusionDit::MakeLanes(const Entry& entry,
                                                                  std::span<const Pass> passes) const {
  std::vector<Lane> lanes;
  for (const Pass& pass : passes) {
    Lane& lane = lanes.emplace_back(Lane{pass, entry.video, entry.audio});
    if (lanes.size() == 1) continue;
    for (TowerStream* stream : {&lane.video, &lane.audio}) {
      OVI_ASSIGN_OR_RETURN(const Tensor copy,
                           runtime_.arena.Allocate(stream->x.dtype, stream->x.shape, "tokens of a pass"));
      runtime_.stream.Copy(copy, stream->x);
      stream->x = copy;
    }
  }
  return lanes;
}

absl::Status FusionDit::RunBlocks(FusionWalk& walk, const Entry& entry, std::vector<Lane>& lanes,
                                  const Check& check, const Observer& observer) const {
  for (std::int64_t block = 0; block < config_.video.layers; ++block) {
    OVI_RETURN_IF_ERROR(check());
    OVI_ASSIGN_OR_RETURN(const FusionParams* params, walk.Next());
    const auto at = static_cast<std::size_t>(block);
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      Lane& lane = lanes[i];
      if (block == lane.pass.skip_block) continue;
      OVI_RETURN_IF_ERROR(RunBlockPair(runtime_,
                                       {params->video_block, entry.video_segments, entry.video_time.e0,
                                        lane.pass.video_text->blocks[at], lane.video},
                                       {params->audio_block, entry.audio_segments, entry.audio_time.e0,
                                        lane.pass.audio_text->blocks[at], lane.audio}));
      if (observer) observer(i, block, lane.video.x, lane.audio.x);
    }
  }
  return absl::OkStatus();
}

absl::Status FusionDit::Leave(const FusionParams& params, const LatentShape& shape, const Entry& entry,
                              const Lane& lane, const Velocity& velocity) const {
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(Tensor video_rows,
                       RunHead(params, Tower::kVideo, entry.video_segments, entry.video_time.e, lane.video));
  OVI_ASSIGN_OR_RETURN(const Tensor audio_rows,
                       RunHead(params, Tower::kAudio, entry.audio_segments, entry.audio_time.e, lane.audio));
  if (entry.shard != nullptr) {
    const ArenaUse use(runtime_.arena, MemoryUse::kCommunication);
    OVI_ASSIGN_OR_RETURN(const Tensor all, AllocateLike(runtime_, video_rows, GridOf(shape).tokens(),
                                                        video_rows.shape[1], "head output of all ranks"));
    runtime_.stream.Copy(all.Slice(entry.range.begin, entry.range.size()), video_rows);
    OVI_RETURN_IF_ERROR(GatherTokens(runtime_, *entry.shard, entry.shard->tokens, all));
    video_rows = all;
    // Equal already where the ranks' processors are: with others, they would drift apart step by step.
    OVI_RETURN_IF_ERROR(
        entry.shard->communicator->Broadcast(&runtime_.stream, 0, BytesOf(audio_rows)).Wait());
  }
  OVI_RETURN_IF_ERROR(WriteVideo(shape, video_rows, velocity.video));
  runtime_.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = audio_rows, .out = velocity.audio});
  return absl::OkStatus();
}

absl::Status FusionDit::PassBy(FusionWalk& walk, const Check& check) const {
  while (!walk.done()) {
    OVI_RETURN_IF_ERROR(check());
    OVI_RETURN_IF_ERROR(walk.Next().status());
  }
  return absl::OkStatus();
}

absl::Status FusionDit::Forward(const LatentShape& shape, const Step& step, std::span<const Pass> passes,
                                const Tensor& video, const Tensor& audio,
                                std::span<const Velocity> velocities, const Check& check,
                                const Observer& observer) const {
  OVI_CHECK(passes.size() == velocities.size());
  FusionWalk walk = Walk(FusionPassUnits(config_));
  if (passes.empty()) return PassBy(walk, check);
  std::optional<SequenceShard> shard;
  if (ranks_) {
    OVI_ASSIGN_OR_RETURN(
        shard, ShardSequence(*ranks_, GridOf(shape).tokens(), shape.audio_length, config_.video.heads));
  }
  ArenaScope scope(runtime_.arena);
  OVI_ASSIGN_OR_RETURN(const Entry entry, Enter(walk, shape, step, video, audio, shard ? &*shard : nullptr));
  OVI_ASSIGN_OR_RETURN(std::vector<Lane> lanes, MakeLanes(entry, passes));
  OVI_RETURN_IF_ERROR(RunBlocks(walk, entry, lanes, check, observer));
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, walk.Next());
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    OVI_RETURN_IF_ERROR(Leave(*params, shape, entry, lanes[i], velocities[i]));
  }
  return runtime_.stream.Sync();
}

}  // namespace ovi
