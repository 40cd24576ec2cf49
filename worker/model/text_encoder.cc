#include "worker/model/text_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/weights/convert.h"

namespace ovi {
namespace {

struct LayerParams {
  Tensor norm1, norm2;
  LinearParams q, k, v, o;
  LinearParams gate, fc1, fc2;
  std::vector<float> positions;  // (buckets, heads), on the host: every prompt length makes its own table
};

absl::StatusOr<LayerParams> LoadLayer(ParamLoader& loader, const TextConfig& c, std::int64_t layer) {
  const std::string at = absl::StrCat("blocks.", layer);
  LayerParams p;
  const auto linear = [&](const char* name, std::int64_t out, std::int64_t in) {
    return loader.Linear(at + name, out, in, ParamLoader::Bias::kNone);
  };
  OVI_ASSIGN_OR_RETURN(p.norm1, loader.Vector(at + ".norm1.weight", c.dim));
  OVI_ASSIGN_OR_RETURN(p.q, linear(".attn.q", c.dim_attn, c.dim));
  OVI_ASSIGN_OR_RETURN(p.k, linear(".attn.k", c.dim_attn, c.dim));
  OVI_ASSIGN_OR_RETURN(p.v, linear(".attn.v", c.dim_attn, c.dim));
  OVI_ASSIGN_OR_RETURN(p.o, linear(".attn.o", c.dim, c.dim_attn));
  OVI_ASSIGN_OR_RETURN(p.norm2, loader.Vector(at + ".norm2.weight", c.dim));
  OVI_ASSIGN_OR_RETURN(p.gate, linear(".ffn.gate.0", c.dim_ffn, c.dim));
  OVI_ASSIGN_OR_RETURN(p.fc1, linear(".ffn.fc1", c.dim_ffn, c.dim));
  OVI_ASSIGN_OR_RETURN(p.fc2, linear(".ffn.fc2", c.dim, c.dim_ffn));
  OVI_ASSIGN_OR_RETURN(p.positions,
                       loader.Values(at + ".pos_embedding.embedding.weight", c.buckets * c.heads));
  if (loader.format().bf16_weights) RoundToBFloat16(p.positions);
  return p;
}

// (heads, 2 tokens - 1): the bias of every distance, as attention.h wants it.
std::vector<float> PositionBias(const TextConfig& c, const std::vector<float>& positions,
                                std::int64_t tokens) {
  std::vector<std::int64_t> buckets;  // of a distance, the same for every head
  buckets.reserve(static_cast<std::size_t>(2 * tokens - 1));
  for (std::int64_t distance = 1 - tokens; distance < tokens; ++distance)
    buckets.push_back(RelativeBucket(distance, c.buckets, c.max_distance));
  std::vector<float> bias;
  bias.reserve(static_cast<std::size_t>(c.heads) * buckets.size());
  for (std::int64_t head = 0; head < c.heads; ++head) {
    for (const std::int64_t bucket : buckets)
      bias.push_back(positions[static_cast<std::size_t>(bucket * c.heads + head)]);
  }
  return bias;
}

void Project(const Runtime& runtime, const LinearParams& linear, const Tensor& in, const Tensor& out) {
  runtime.stream.Run(Gemm{.a = in, .weight = &linear.weight, .out = out});
}

// One layer over one prompt's residual stream x (tokens, dim), in place.
absl::Status RunLayer(const Runtime& runtime, const TextConfig& c, const LayerParams& layer,
                      const Tensor& x) {
  const std::int64_t tokens = x.shape[0];
  const auto eps = static_cast<float>(c.eps);
  ArenaScope scope(runtime.arena);
  const auto allocate = [&](std::int64_t columns, const char* what) {
    return runtime.arena.Allocate(x.dtype, {tokens, columns}, what);
  };
  OVI_ASSIGN_OR_RETURN(const Tensor h, allocate(c.dim, "text norm"));
  OVI_ASSIGN_OR_RETURN(const Tensor q, allocate(c.dim_attn, "text q"));
  OVI_ASSIGN_OR_RETURN(const Tensor k, allocate(c.dim_attn, "text k"));
  OVI_ASSIGN_OR_RETURN(const Tensor v, allocate(c.dim_attn, "text v"));
  OVI_ASSIGN_OR_RETURN(const Tensor gate, allocate(c.dim_ffn, "text gate"));
  OVI_ASSIGN_OR_RETURN(const Tensor hidden, allocate(c.dim_ffn, "text hidden"));
  OVI_ASSIGN_OR_RETURN(const Tensor bias_table,
                       runtime.arena.Allocate(DType::kF32, {c.heads, 2 * tokens - 1}, "text bias"));
  const std::vector<float> bias = PositionBias(c, layer.positions, tokens);
  runtime.stream.Upload(bias_table, HostTensor{bias.data(), DType::kF32, bias_table.shape});

  runtime.stream.Run(RmsNorm{.x = x, .weight = layer.norm1, .eps = eps, .out = h});
  Project(runtime, layer.q, h, q);
  Project(runtime, layer.k, h, k);
  Project(runtime, layer.v, h, v);
  // T5 does not scale its scores.
  runtime.stream.Run(Attention{.q = q,
                               .k = k,
                               .v = v,
                               .heads = c.heads,
                               .keys = tokens,
                               .scale = 1.0f,
                               .rel_bias = bias_table,
                               .round_scores = x.dtype == DType::kBF16,
                               .out = q});
  runtime.stream.Run(Gemm{.a = q, .weight = &layer.o.weight, .residual = x, .out = x});
  runtime.stream.Run(RmsNorm{.x = x, .weight = layer.norm2, .eps = eps, .out = h});
  Project(runtime, layer.gate, h, gate);
  Project(runtime, layer.fc1, h, hidden);
  runtime.stream.Run(
      Elementwise{.kind = ElementwiseKind::kGeluTanhMul, .a = gate, .b = hidden, .out = hidden});
  runtime.stream.Run(Gemm{.a = hidden, .weight = &layer.fc2.weight, .residual = x, .out = x});
  return runtime.stream.Sync();  // the bias table leaves with this function
}

// Rows of the embedding for `ids`, gathered from the mapped file: the whole table (2 GB) is never loaded.
absl::StatusOr<Tensor> Embed(const Runtime& runtime, const TextConfig& c, const HostTensor& table,
                             DType compute, const std::vector<std::int32_t>& ids) {
  const auto tokens = static_cast<std::int64_t>(ids.size());
  if (tokens == 0) return absl::InvalidArgumentError("text encoder: a prompt needs at least one token");
  OVI_ASSIGN_OR_RETURN(const Tensor x, runtime.arena.Allocate(compute, {tokens, c.dim}, "text stream"));
  std::vector<float> rows(static_cast<std::size_t>(tokens * c.dim));
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int32_t id = ids[static_cast<std::size_t>(t)];
    if (id < 0 || id >= c.vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("text encoder: token id ", id, " is outside 0..", c.vocab - 1));
    }
    ToFloats(table, id * c.dim,
             std::span(rows).subspan(static_cast<std::size_t>(t * c.dim), static_cast<std::size_t>(c.dim)));
  }
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const Tensor wide, runtime.arena.Allocate(DType::kF32, x.shape, "text embedding"));
  runtime.stream.Upload(wide, HostTensor{rows.data(), DType::kF32, wide.shape});
  runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = wide, .out = x});
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  return x;
}

}  // namespace

std::vector<TensorSpec> TextTensors(const TextConfig& c) {
  std::vector<TensorSpec> specs = {{"token_embedding.weight", {c.vocab, c.dim}}, {"norm.weight", {c.dim}}};
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string at = absl::StrCat("blocks.", layer);
    specs.push_back({at + ".norm1.weight", {c.dim}});
    for (const char* name : {"q", "k", "v"})
      specs.push_back({absl::StrCat(at, ".attn.", name, ".weight"), {c.dim_attn, c.dim}});
    specs.push_back({at + ".attn.o.weight", {c.dim, c.dim_attn}});
    specs.push_back({at + ".norm2.weight", {c.dim}});
    specs.push_back({at + ".ffn.gate.0.weight", {c.dim_ffn, c.dim}});
    specs.push_back({at + ".ffn.fc1.weight", {c.dim_ffn, c.dim}});
    specs.push_back({at + ".ffn.fc2.weight", {c.dim, c.dim_ffn}});
    specs.push_back({at + ".pos_embedding.embedding.weight", {c.buckets, c.heads}});
  }
  return specs;
}

std::int64_t RelativeBucket(std::int64_t key_minus_query, std::int64_t buckets, std::int64_t max_distance) {
  const std::int64_t half = buckets / 2;
  const std::int64_t exact = half / 2;
  const std::int64_t base = key_minus_query > 0 ? half : 0;
  const std::int64_t distance = std::abs(key_minus_query);
  if (distance < exact) return base + distance;
  // In f32, as the original: the bucket boundaries depend on it.
  const float octave =
      std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const auto step = static_cast<std::int64_t>(octave * static_cast<float>(half - exact));
  return base + std::min(exact + step, half - 1);
}

absl::StatusOr<std::vector<TextStates>> EncodeText(const Runtime& runtime, const TextConfig& config,
                                                   const WeightSource& source, PrecisionPolicy policy,
                                                   const std::vector<std::vector<std::int32_t>>& prompts,
                                                   const std::function<absl::Status()>& check) {
  OVI_RETURN_IF_ERROR(CheckTensors(source, TextTensors(config)));
  OVI_ASSIGN_OR_RETURN(const HostTensor table, source.Find("token_embedding.weight"));
  const NumberFormat format = Bf16NetworkFormat(policy);
  ParamLoader loader(runtime, source, format);
  ArenaScope scope(runtime.arena);
  std::vector<Tensor> streams;
  for (const std::vector<std::int32_t>& ids : prompts) {
    OVI_ASSIGN_OR_RETURN(streams.emplace_back(), Embed(runtime, config, table, format.compute, ids));
  }
  for (std::int64_t index = 0; index < config.layers; ++index) {
    OVI_RETURN_IF_ERROR(check());
    ArenaScope layer_scope(runtime.arena);
    OVI_ASSIGN_OR_RETURN(const LayerParams layer, LoadLayer(loader, config, index));
    for (const Tensor& x : streams) OVI_RETURN_IF_ERROR(RunLayer(runtime, config, layer, x));
  }
  OVI_ASSIGN_OR_RETURN(const Tensor norm, loader.Vector("norm.weight", config.dim));
  std::vector<TextStates> states;
  for (const Tensor& x : streams) {
    TextStates& out = states.emplace_back(TextStates{.tokens = x.shape[0], .dim = config.dim, .values = {}});
    out.values.resize(static_cast<std::size_t>(x.elements()));
    OVI_ASSIGN_OR_RETURN(const Tensor wide, runtime.arena.Allocate(DType::kF32, x.shape, "text states"));
    runtime.stream.Run(RmsNorm{.x = x, .weight = norm, .eps = static_cast<float>(config.eps), .out = x});
    runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kCast, .a = x, .out = wide});
    runtime.stream.Download(out.values.data(), wide);
  }
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  return states;
}

}  // namespace ovi
