#include "worker/plan/clip_time.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "worker/model/streamed_weights.h"
#include "worker/model/video_vae_layout.h"
#include "worker/parallel/shards.h"
#include "worker/plan/step_time.h"

namespace ovi {
namespace {

// What of a data sheet's rates a card is taken to reach, in one place. In brackets what an H100 SXM reached
// in the real model's shapes with PyTorch's libraries (tests/gpu/card_rates.py, docs/benchmarks.md); no other
// card was measured, and smaller ones are held back by their power.
struct Efficiency {
  double matrices = 0.65;      // of the bf16 rate [0.72-0.81]
  double matrices_fp8 = 0.5;   // of the fp8 rate [0.60-0.65]; quantising activations is not in it
  double matrices_int8 = 0.4;  // of the int8 rate [0.34-0.46], with 32-bit results
  double attention = 0.5;      // of the bf16 rate [0.63]: softmax runs beside the products
  double convolutions = 0.6;   // of tf32, half the bf16 rate [0.62-0.77]: the decoder's activations are f32
  double memory = 0.8;         // of a memory's rate, copying large pieces [0.90]
  double link = 0.7;           // of a slot's, from pinned memory [0.88]; from pageable memory [0.13]
};
constexpr Efficiency kEfficiency;

constexpr double kLinkSeconds = 20e-6;  // before the first byte of an exchange over PCIe

// The model's section 11: what fused operators move of a block's activations, in tensors of the tokens'
// width.
constexpr double kActivationsPerBlock = 36;

constexpr double kBF16Bytes = 2;

double MatrixRate(const GpuModel& gpu, DType matrices) {
  if (matrices == DType::kI8) return gpu.int8_ops * kEfficiency.matrices_int8;
  if (matrices == DType::kF8E4M3 && gpu.fp8_flops > 0) return gpu.fp8_flops * kEfficiency.matrices_fp8;
  return gpu.bf16_flops * kEfficiency.matrices;
}

double LinkRate(const GpuModel& gpu) {
  return gpu.link_bytes_per_second * kEfficiency.link;
}

// Bytes of the transformer's weights.
struct WeightBytes {
  double resident = 0;
  double streamed = 0;  // come in every step
};

WeightBytes WeightsOf(const ClipTimeRequest& request) {
  const bool streams = request.clip.memory.streamed && !request.topology.fsdp;
  const StreamingPlan plan = PlanStreaming(
      request.model.fusion, request.unit_bytes,
      streams ? request.clip.memory.weight_bytes_max : std::numeric_limits<std::int64_t>::max());
  return {.resident = static_cast<double>(plan.device_bytes - 2 * plan.buffer_bytes),
          .streamed = static_cast<double>(plan.host_bytes)};
}

double TextEncoderBytes(const TextConfig& config) {
  const auto dim = static_cast<double>(config.dim);
  return kBF16Bytes * static_cast<double>(config.layers) *
         (4 * dim * static_cast<double>(config.dim_attn) + 3 * dim * static_cast<double>(config.dim_ffn));
}

// One layer's weights come in while the one before computes. An image's latents (i2v) take no part of a
// second.
double EncodeSeconds(const ClipTimeRequest& request) {
  const TextConfig& text = request.model.text;
  constexpr int kPrompts = 3;
  const double compute = kPrompts * TextFlop(text, text.text_len) / MatrixRate(request.gpu, DType::kBF16);
  return std::max(compute, TextEncoderBytes(text) / LinkRate(request.gpu));
}

double StepSeconds(const ClipTimeRequest& request, const WeightBytes& weights) {
  const ClipRequest& clip = request.clip;
  const StepTrafficRequest traffic{.config = request.model.fusion,
                                   .latent = clip.latent,
                                   .two_passes = clip.needs_negative_pass(),
                                   .skip_block = clip.skip_block,
                                   .topology = request.topology,
                                   .unit_bytes = request.unit_bytes};
  const StepTime time =
      StepTimeOf(traffic, {.matrix_flops = MatrixRate(request.gpu, clip.fusion_format().block_matrices.dtype),
                           .attention_flops = request.gpu.bf16_flops * kEfficiency.attention,
                           .link_bytes = LinkRate(request.gpu),
                           .link_seconds = kLinkSeconds,
                           .overlap = 1});
  double activations = 0;
  if (const std::optional<RankPlace> place = PlaceOf(request.topology, 0)) {
    const double tokens =
        static_cast<double>(VideoTokensOf(request.model.fusion, clip.latent)) / request.topology.sp +
        static_cast<double>(clip.latent.audio_length);
    activations = kActivationsPerBlock * tokens * static_cast<double>(request.model.fusion.video.dim) *
                  kBF16Bytes * static_cast<double>(BlocksOf(traffic, *place));
  }
  const double moved = activations + weights.resident + weights.streamed;
  const double memory = moved / (request.gpu.memory_bytes_per_second * kEfficiency.memory);
  const double copies = weights.streamed / LinkRate(request.gpu);
  return std::max(time.compute_seconds + memory, copies) + time.exchange_seconds;
}

// Rows of each level's input that are computed, over all strips.
std::vector<double> DecodedRows(const VideoVaeConfig& config, std::int64_t rows, int ranks, int strips) {
  std::vector<double> decoded;
  const std::int64_t most = (rows + ranks - 1) / ranks;  // of a rank, in latent rows
  double scale = 1;
  for (const VideoVaeLevel& level : VideoVaeDecoderLevels(config)) {
    decoded.push_back(scale * static_cast<double>(most));
    scale *= static_cast<double>(level.space_factor());
  }
  if (strips == 1) return decoded;
  std::fill(decoded.begin(), decoded.end(), 0.0);
  for (const ShardRange& strip : Shard(rows, std::vector<int>(static_cast<std::size_t>(strips), 1))) {
    const std::vector<ShardRange> reads = VideoVaeDecoderStripRows(config, rows, strip);
    for (std::size_t i = 0; i < reads.size(); ++i) decoded[i] += static_cast<double>(reads[i].size());
  }
  return decoded;
}

}  // namespace

// Section 4 of the model: q, k, v, o, three matrices of the feed-forward, and attention over all tokens.
double TextFlop(const TextConfig& config, std::int64_t tokens) {
  const auto n = static_cast<double>(tokens);
  const double matrices = TextEncoderBytes(config) / kBF16Bytes;
  return 2 * n * matrices +
         4 * n * n * static_cast<double>(config.dim_attn) * static_cast<double>(config.layers);
}

// Section 5 of the model: the lowest resolution whole on every rank and for every strip, the levels by rows.
double DecodeFlop(const VideoVaeConfig& config, const LatentShape& latent, int ranks, int strips) {
  const std::vector<VideoVaeLevel> levels = VideoVaeDecoderLevels(config);
  const std::vector<double> rows = DecodedRows(config, latent.rows, ranks, strips);
  auto frames = static_cast<double>(latent.frames);
  auto columns = static_cast<double>(latent.columns);
  const auto wide = static_cast<double>(levels.front().in_channels);
  const double pixels = static_cast<double>(latent.rows) * columns;
  // Four 3x3x3 convolutions and the one before, attention of all pixels to all.
  const double middle =
      frames * pixels *
      (27 * wide * (4 * wide + static_cast<double>(config.z_dim)) + 4 * wide * wide + 2 * pixels * wide);
  double products = middle * strips;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const auto in = static_cast<double>(levels[i].in_channels);
    const auto out = static_cast<double>(levels[i].out_channels);
    const auto blocks = static_cast<double>(config.res_blocks + 1);
    const double places = frames * rows[i] * columns;
    products += places * (27 * out * (in + (2 * blocks - 1) * out) + (in == out ? 0 : in * out));
    if (levels[i].time) {
      products += places * 3 * 2 * out * out;
      frames = 2 * frames - 1;
    }
    if (levels[i].resamples) {
      columns *= 2;
      products += frames * 2 * rows[i] * columns * 9 * out * out;
    }
  }
  const auto last = static_cast<double>(levels.back().out_channels);
  products +=
      frames * rows.back() * columns * 27 * last * 3 * static_cast<double>(config.patch * config.patch);
  return 2 * products;
}

ClipTime EstimateTime(const ClipTimeRequest& request) {
  const WeightBytes weights = WeightsOf(request);
  const int ranks = request.topology.world_size;
  const int parts = request.topology.fsdp ? ranks : 1;
  ClipTime time{.encode_seconds = EncodeSeconds(request), .steps = request.clip.steps};
  time.load_seconds = weights.resident / parts / LinkRate(request.gpu);
  time.step_seconds = StepSeconds(request, weights);
  time.decode_seconds = DecodeFlop(request.model.video_vae, request.clip.latent, ranks,
                                   ranks == 1 ? request.clip.memory.decode_strips : 1) /
                        (request.gpu.bf16_flops / 2 * kEfficiency.convolutions);
  return time;
}

}  // namespace ovi
