#include "worker/model/fusion_block.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/status.h"
#include "worker/model/linear.h"

namespace ovi {
namespace {

// The feed-forward's hidden activation is ffn_dim / dim times as wide as a token: it is made for so many
// tokens at a time.
constexpr std::int64_t kFeedForwardRows = 4096;

enum ModulationVector : std::int64_t { kShiftSelf, kScaleSelf, kGateSelf, kShiftFfn, kScaleFfn, kGateFfn };

float Eps(const TowerConfig& config) {
  return static_cast<float>(config.eps);
}

// LN(x) * (1 + scale) + shift, segment by segment.
void NormAndModulate(const Runtime& runtime, const TowerConfig& config, const RowModulation& mod,
                     std::int64_t shift, std::int64_t scale, const Tensor& x, const Tensor& out) {
  for (std::size_t s = 0; s < mod.segments.size(); ++s) {
    const RowSegment& segment = mod.segments[s];
    runtime.stream.Run(LayerNorm{.x = x.Slice(segment.begin, segment.count),
                                 .scale = mod.Vector(s, scale, config.dim),
                                 .shift = mod.Vector(s, shift, config.dim),
                                 .eps = Eps(config),
                                 .out = out.Slice(segment.begin, segment.count)});
  }
}

absl::Status Project(const Runtime& runtime, const LinearParams& linear, const Tensor& in,
                     const Tensor& out) {
  return RunLinear(runtime, linear, {.a = in, .out = out});
}

// The part of `segment` in `range`.
RowSegment Within(const RowSegment& segment, const ShardRange& range) {
  const std::int64_t begin = std::max(segment.begin, range.begin);
  const std::int64_t end = std::min(segment.begin + segment.count, range.end);
  return {begin, std::max<std::int64_t>(end - begin, 0)};
}

// Of the rows in `range`.
absl::Status FeedForward(const Runtime& runtime, const BlockParams& block, const RowModulation& whole,
                         const ShardRange& range, TowerStream& stream) {
  const TowerConfig& config = *stream.config;
  RowModulation mod = whole;
  for (RowSegment& segment : mod.segments) segment = Within(segment, range);
  ArenaScope scope(runtime.arena);
  const std::int64_t rows = stream.x.shape[0];
  OVI_ASSIGN_OR_RETURN(const Tensor h,
                       AllocateLike(runtime, stream.x, rows, config.dim, "feed-forward input"));
  OVI_ASSIGN_OR_RETURN(const Tensor hidden, AllocateLike(runtime, stream.x, std::min(rows, kFeedForwardRows),
                                                         config.ffn_dim, "feed-forward hidden"));
  NormAndModulate(runtime, config, mod, kShiftFfn, kScaleFfn, stream.x, h);
  for (std::size_t s = 0; s < mod.segments.size(); ++s) {
    const RowSegment& segment = mod.segments[s];
    for (std::int64_t done = 0; done < segment.count; done += kFeedForwardRows) {
      const std::int64_t begin = segment.begin + done;
      const std::int64_t count = std::min(kFeedForwardRows, segment.count - done);
      const Tensor middle = hidden.Slice(0, count);
      const Tensor x = stream.x.Slice(begin, count);
      OVI_RETURN_IF_ERROR(
          RunLinear(runtime, block.ffn_in,
                    {.a = h.Slice(begin, count), .activation = Activation::kGeluTanh, .out = middle}));
      OVI_RETURN_IF_ERROR(
          RunLinear(runtime, block.ffn_out,
                    {.a = middle, .gate = mod.Vector(s, kGateFfn, config.dim), .residual = x, .out = x}));
    }
  }
  return absl::OkStatus();
}

}  // namespace

float AttentionScale(const TowerConfig& config) {
  return 1.0f / std::sqrt(static_cast<float>(config.head_dim()));
}

Tensor RowModulation::Vector(std::size_t s, std::int64_t index, std::int64_t dim) const {
  const std::int64_t vectors = table.shape[1] / dim;
  return table.Reshaped({table.shape[0] * vectors, dim})
      .Slice(static_cast<std::int64_t>(s) * vectors + index, 1)
      .Reshaped({dim});
}

absl::StatusOr<Tensor> AllocateLike(const Runtime& runtime, const Tensor& like, std::int64_t rows,
                                    std::int64_t columns, std::string_view what) {
  return runtime.arena.Allocate(like.dtype, {rows, columns}, what);
}

absl::StatusOr<RowModulation> Modulate(const Runtime& runtime, const std::vector<RowSegment>& segments,
                                       const Tensor& e0, const Tensor& modulation) {
  RowModulation mod{.segments = segments, .table = {}};
  OVI_ASSIGN_OR_RETURN(mod.table, runtime.arena.Allocate(DType::kF32, e0.shape, "modulation"));
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor sum, runtime.arena.Allocate(e0.dtype, e0.shape, "modulation sum"));
  runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kAxpby, .a = e0, .b = modulation, .out = sum});
  runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = sum, .out = mod.table});
  return mod;
}

namespace {

void NormHeads(const Runtime& runtime, const TowerConfig& config, const Tensor& weight, const Tensor& rope,
               const Tensor& x) {
  runtime.stream.Run(RmsNorm{
      .x = x, .weight = weight, .eps = Eps(config), .rope_table = rope, .heads = config.heads, .out = x});
}

}  // namespace

absl::Status ProjectSelfQuery(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                              const Tensor& h, const Tensor& rope, const Tensor& out) {
  OVI_RETURN_IF_ERROR(Project(runtime, block.self_q, h, out));
  NormHeads(runtime, config, block.self_norm_q, rope, out);
  return absl::OkStatus();
}

absl::Status ProjectSelfKey(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                            const Tensor& h, const Tensor& rope, const Tensor& out) {
  OVI_RETURN_IF_ERROR(Project(runtime, block.self_k, h, out));
  NormHeads(runtime, config, block.self_norm_k, rope, out);
  return absl::OkStatus();
}

absl::Status ProjectSelfValue(const Runtime& runtime, const BlockParams& block, const Tensor& h,
                              const Tensor& out) {
  return Project(runtime, block.self_v, h, out);
}

namespace {

// Makes rows of `out` from rows of `in`, all alike: all of them here, or with `products` the rank's own, and
// the rest comes from the others. `make` gets both, and the rows' place.
absl::Status MakeRows(
    const Runtime& runtime, const SequenceShard* products, const Tensor& in, const Tensor& out,
    const std::function<absl::Status(const Tensor& in, const Tensor& out, const ShardRange& rows)>& make) {
  if (products == nullptr) return make(in, out, {0, in.shape[0]});
  const ShardRange& own = products->own_audio_tokens();
  OVI_RETURN_IF_ERROR(make(in.Slice(own.begin, own.size()), out.Slice(own.begin, own.size()), own));
  return GatherTokens(runtime, *products, products->audio_tokens, out);
}

// The table may end before the rows do, which are padding then.
Tensor RowsOfTable(const Tensor& rope, const ShardRange& rows) {
  if (rope.empty()) return rope;
  const std::int64_t begin = std::min(rows.begin, rope.shape[0]);
  return rope.Slice(begin, std::min(rows.size(), rope.shape[0] - begin));
}

}  // namespace

absl::StatusOr<SelfQkv> ProjectSelf(const Runtime& runtime, const BlockParams& block,
                                    const TowerConfig& config, const Tensor& h, const Tensor& rope,
                                    const SequenceShard* products) {
  const std::int64_t rows = h.shape[0];
  SelfQkv out;
  OVI_ASSIGN_OR_RETURN(out.q, AllocateLike(runtime, h, rows, config.dim, "self-attention q"));
  OVI_ASSIGN_OR_RETURN(out.k, AllocateLike(runtime, h, rows, config.dim, "self-attention k"));
  OVI_ASSIGN_OR_RETURN(out.v, AllocateLike(runtime, h, rows, config.dim, "self-attention v"));
  OVI_RETURN_IF_ERROR(
      MakeRows(runtime, products, h, out.q, [&](const Tensor& in, const Tensor& to, const ShardRange& at) {
        return ProjectSelfQuery(runtime, block, config, in, RowsOfTable(rope, at), to);
      }));
  OVI_RETURN_IF_ERROR(
      MakeRows(runtime, products, h, out.k, [&](const Tensor& in, const Tensor& to, const ShardRange& at) {
        return ProjectSelfKey(runtime, block, config, in, RowsOfTable(rope, at), to);
      }));
  OVI_RETURN_IF_ERROR(
      MakeRows(runtime, products, h, out.v, [&](const Tensor& in, const Tensor& to, const ShardRange&) {
        return ProjectSelfValue(runtime, block, in, to);
      }));
  return out;
}

absl::Status AttendSelf(const Runtime& runtime, const BlockParams& block, const TowerConfig& config,
                        const Tensor& rope, std::int64_t keys, const Tensor& h,
                        const SequenceShard* products) {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const SelfQkv qkv, ProjectSelf(runtime, block, config, h, rope, products));
  runtime.stream.Run(Attention{.q = qkv.q,
                               .k = qkv.k,
                               .v = qkv.v,
                               .heads = config.heads,
                               .keys = keys,
                               .scale = AttentionScale(config),
                               .out = h});
  return absl::OkStatus();
}

absl::Status SelfAttention(const Runtime& runtime, const BlockParams& block, const RowModulation& mod,
                           TowerStream& stream) {
  const TowerConfig& config = *stream.config;
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(
      const Tensor h, AllocateLike(runtime, stream.x, stream.x.shape[0], config.dim, "self-attention input"));
  NormAndModulate(runtime, config, mod, kShiftSelf, kScaleSelf, stream.x, h);
  if (stream.shard != nullptr) {
    OVI_RETURN_IF_ERROR(AttendSelfSharded(runtime, block, config, *stream.shard, stream.rope, h));
  } else {
    OVI_RETURN_IF_ERROR(AttendSelf(runtime, block, config, stream.rope, stream.keys, h, stream.products));
  }
  for (std::size_t s = 0; s < mod.segments.size(); ++s) {
    const RowSegment& segment = mod.segments[s];
    const Tensor x = stream.x.Slice(segment.begin, segment.count);
    OVI_RETURN_IF_ERROR(RunLinear(runtime, block.self_o,
                                  {.a = h.Slice(segment.begin, segment.count),
                                   .gate = mod.Vector(s, kGateSelf, config.dim),
                                   .residual = x,
                                   .out = x}));
  }
  return absl::OkStatus();
}

absl::StatusOr<KeyValue> FusionKeyValue(const Runtime& runtime, const BlockParams& block,
                                        const TowerStream& other) {
  const TowerConfig& config = *other.config;
  const std::int64_t rows = other.x.shape[0];
  KeyValue kv;
  OVI_ASSIGN_OR_RETURN(kv.k, AllocateLike(runtime, other.x, rows, config.dim, "fusion keys"));
  OVI_ASSIGN_OR_RETURN(kv.v, AllocateLike(runtime, other.x, rows, config.dim, "fusion values"));
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor w, AllocateLike(runtime, other.x, rows, config.dim, "fusion input"));
  runtime.stream.Run(LayerNorm{.x = other.x,
                               .weight = block.fusion_norm_weight,
                               .bias = block.fusion_norm_bias,
                               .eps = Eps(config),
                               .out = w});
  OVI_RETURN_IF_ERROR(MakeRows(
      runtime, other.products, w, kv.k, [&](const Tensor& in, const Tensor& to, const ShardRange& at) {
        OVI_RETURN_IF_ERROR(Project(runtime, block.k_fusion, in, to));
        NormHeads(runtime, config, block.norm_k_fusion, RowsOfTable(other.rope, at), to);
        return absl::OkStatus();
      }));
  OVI_RETURN_IF_ERROR(
      MakeRows(runtime, other.products, w, kv.v, [&](const Tensor& in, const Tensor& to, const ShardRange&) {
        return Project(runtime, block.v_fusion, in, to);
      }));
  return kv;
}

absl::StatusOr<KeyValue> TextKeyValue(const Runtime& runtime, const BlockParams& block,
                                      const TowerConfig& config, const Tensor& embedded) {
  KeyValue kv;
  OVI_ASSIGN_OR_RETURN(kv.k, AllocateLike(runtime, embedded, embedded.shape[0], config.dim, "text keys"));
  OVI_ASSIGN_OR_RETURN(kv.v, AllocateLike(runtime, embedded, embedded.shape[0], config.dim, "text values"));
  OVI_RETURN_IF_ERROR(Project(runtime, block.cross_k, embedded, kv.k));
  OVI_RETURN_IF_ERROR(Project(runtime, block.cross_v, embedded, kv.v));
  runtime.stream.Run(RmsNorm{.x = kv.k, .weight = block.cross_norm_k, .eps = Eps(config), .out = kv.k});
  return kv;
}

absl::StatusOr<Tensor> CrossAttention(const Runtime& runtime, const BlockParams& block,
                                      const TowerStream& stream, const Tensor& u, const KeyValue& text,
                                      const OtherTower& other) {
  const TowerConfig& config = *stream.config;
  const std::int64_t rows = u.shape[0];
  OVI_ASSIGN_OR_RETURN(const Tensor out, AllocateLike(runtime, u, rows, config.dim, "cross attention"));
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor q, AllocateLike(runtime, u, rows, config.dim, "cross attention q"));
  OVI_RETURN_IF_ERROR(
      MakeRows(runtime, stream.products, u, q, [&](const Tensor& in, const Tensor& to, const ShardRange&) {
        OVI_RETURN_IF_ERROR(Project(runtime, block.cross_q, in, to));
        runtime.stream.Run(RmsNorm{.x = to, .weight = block.cross_norm_q, .eps = Eps(config), .out = to});
        return absl::OkStatus();
      }));
  Attention attention{.q = q,
                      .k = text.k,
                      .v = text.v,
                      .heads = config.heads,
                      .keys = text.k.shape[0],
                      .scale = AttentionScale(config),
                      .out = out};
  runtime.stream.Run(attention);
  // The same q serves both parts: as it is for the text, rotated for the other tower.
  runtime.stream.Run(Rope{.x = q, .table = stream.rope, .heads = config.heads, .out = q});
  if (other.shard != nullptr) {
    OVI_RETURN_IF_ERROR(AttendOverRanks(runtime, config, *other.shard, q, other.kv.k, other.kv.v, other.keys,
                                        attention.scale, out));
    return out;
  }
  attention.k = other.kv.k;
  attention.v = other.kv.v;
  attention.keys = other.keys;
  attention.accumulate = true;
  runtime.stream.Run(attention);
  return out;
}

absl::Status CrossAndFeedForward(const Runtime& runtime, const BlockParams& block, const RowModulation& mod,
                                 const KeyValue& text, const OtherTower& other, TowerStream& stream) {
  const TowerConfig& config = *stream.config;
  {
    ArenaScope scope(runtime.arena);
    OVI_ASSIGN_OR_RETURN(const Tensor u,
                         AllocateLike(runtime, stream.x, stream.x.shape[0], config.dim, "cross input"));
    runtime.stream.Run(LayerNorm{
        .x = stream.x, .weight = block.norm3_weight, .bias = block.norm3_bias, .eps = Eps(config), .out = u});
    OVI_ASSIGN_OR_RETURN(const Tensor y, CrossAttention(runtime, block, stream, u, text, other));
    OVI_RETURN_IF_ERROR(RunLinear(runtime, block.cross_o, {.a = y, .residual = stream.x, .out = stream.x}));
  }
  if (stream.products == nullptr) return FeedForward(runtime, block, mod, {0, stream.x.shape[0]}, stream);
  OVI_RETURN_IF_ERROR(FeedForward(runtime, block, mod, stream.products->own_audio_tokens(), stream));
  return GatherTokens(runtime, *stream.products, stream.products->audio_tokens, stream.x);
}

absl::Status RunBlockPair(const Runtime& runtime, const TowerStep& video, const TowerStep& audio) {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const RowModulation video_mod,
                       Modulate(runtime, video.segments, video.e0, video.block.modulation));
  OVI_ASSIGN_OR_RETURN(const RowModulation audio_mod,
                       Modulate(runtime, audio.segments, audio.e0, audio.block.modulation));
  OVI_RETURN_IF_ERROR(SelfAttention(runtime, audio.block, audio_mod, audio.stream));
  OVI_RETURN_IF_ERROR(SelfAttention(runtime, video.block, video_mod, video.stream));
  // Each tower sees the other as it is now: what video takes from audio is made before audio moves on.
  OtherTower from_audio{.kv = {}, .keys = audio.stream.keys};
  OVI_ASSIGN_OR_RETURN(from_audio.kv, FusionKeyValue(runtime, video.block, audio.stream));
  {
    ArenaScope audio_scope(runtime.arena);
    OtherTower from_video{.kv = {}, .keys = video.stream.keys, .shard = video.stream.shard};
    OVI_ASSIGN_OR_RETURN(from_video.kv, FusionKeyValue(runtime, audio.block, video.stream));
    OVI_RETURN_IF_ERROR(
        CrossAndFeedForward(runtime, audio.block, audio_mod, audio.text, from_video, audio.stream));
  }
  return CrossAndFeedForward(runtime, video.block, video_mod, video.text, from_audio, video.stream);
}

absl::StatusOr<Tensor> Head(const Runtime& runtime, const TowerParams& tower, const RowModulation& mod,
                            const TowerStream& stream) {
  const TowerConfig& config = *stream.config;
  OVI_ASSIGN_OR_RETURN(const Tensor out, AllocateLike(runtime, stream.x, stream.x.shape[0],
                                                      tower.head.weight.n, "head output"));
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor h,
                       AllocateLike(runtime, stream.x, stream.x.shape[0], config.dim, "head input"));
  NormAndModulate(runtime, config, mod, /*shift=*/0, /*scale=*/1, stream.x, h);
  OVI_RETURN_IF_ERROR(Project(runtime, tower.head, h, out));
  return out;
}

}  // namespace ovi
