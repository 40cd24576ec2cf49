// Golden tests of the fusion transformer and the text encoder.
#include <array>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tests/golden/configs.h"
#include "worker/model/linear.h"
#include "worker/model/text_encoder.h"

namespace ovi::golden {
namespace {

const absl::Status& Ok() {
  static const absl::Status ok;
  return ok;
}

absl::Status NoCheck() {
  return Ok();
}

constexpr std::array kTowers = {Tower::kVideo, Tower::kAudio};

std::string TowerName(Tower tower) {
  return tower == Tower::kVideo ? "video" : "audio";
}

VideoGrid GridOf(const nlohmann::json& params) {
  const std::vector<std::int64_t> grid = params.at("video_grid");
  return {grid.at(0), grid.at(1), grid.at(2)};
}

std::vector<float> RopeOf(const FusionDit& dit, const Context& context, Tower tower) {
  const TowerConfig& config = dit.tower_config(tower);
  if (tower == Tower::kVideo) return VideoRopeTable(GridOf(context.test.params), config.head_dim());
  const std::int64_t length = context.test.params.at("audio_len");
  return AudioRopeTable(length, config.head_dim(), config.temporal_rope_scaling);
}

// Reference tokens `name` ([1,] rows, D) as a tower's stream.
absl::StatusOr<TowerStream> UploadStream(const Context& context, const FusionDit& dit, Tower tower,
                                         const std::string& name, const std::vector<float>& rope) {
  OVI_ASSIGN_OR_RETURN(const Reference reference, context.set.Tensor(name));
  const std::int64_t dim = dit.tower_config(tower).dim;
  OVI_ASSIGN_OR_RETURN(const Tensor x,
                       context.Upload(name, context.compute(), {reference.shape.elements() / dim, dim}));
  OVI_ASSIGN_OR_RETURN(TowerStream stream, dit.MakeStream(tower, x, rope));
  OVI_RETURN_IF_ERROR(context.runtime.stream.Sync());
  return stream;
}

absl::StatusOr<const FusionParams*> ParamsOf(const FusionDit& dit, FusionUnit unit) {
  return dit.Walk({unit}).Next();
}

const BlockParams& BlockOf(const FusionParams& params, Tower tower) {
  return tower == Tower::kVideo ? params.video_block : params.audio_block;
}

// One segment a row: the reference modulates every token by vectors of its own.
std::vector<RowSegment> OneRowSegments(std::int64_t rows) {
  std::vector<RowSegment> segments;
  for (std::int64_t row = 0; row < rows; ++row) segments.push_back({row, 1});
  return segments;
}

absl::Status TimeEmbeddingTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  OVI_ASSIGN_OR_RETURN(const Reference t, context.set.Tensor("time.t"));
  const std::vector<double> timesteps(t.values.begin(), t.values.end());
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(*dit, {FusionPiece::kEntry}));
  results["time.sinusoid"] = TimeSinusoid(timesteps, dit->config().video.freq_dim);
  for (const Tower tower : kTowers) {
    OVI_ASSIGN_OR_RETURN(const TimeEmbedding time, dit->EmbedTime(*params, tower, timesteps));
    OVI_ASSIGN_OR_RETURN(results["time." + TowerName(tower) + ".e"], context.Download(time.e));
    OVI_ASSIGN_OR_RETURN(results["time." + TowerName(tower) + ".e0"], context.Download(time.e0));
  }
  return Ok();
}

absl::Status SelfAttentionTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  const std::int64_t index = context.test.params.at("block");
  for (const auto& [tower, name] :
       {std::pair{Tower::kVideo, "self_attn.video"}, std::pair{Tower::kAudio, "self_attn.audio"},
        std::pair{Tower::kVideo, "self_attn.video_padded"}}) {
    ArenaScope scope(context.runtime.arena);
    const TowerConfig& config = dit->tower_config(tower);
    OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(*dit, {FusionPiece::kBlockPair, index}));
    const BlockParams& block = BlockOf(*params, tower);
    const std::string at = name;
    OVI_ASSIGN_OR_RETURN(TowerStream stream,
                         UploadStream(context, *dit, tower, at + ".x", RopeOf(*dit, context, tower)));
    OVI_ASSIGN_OR_RETURN(const SelfQkv qkv, ProjectSelf(context.runtime, block, config, stream.x, Tensor{}));
    OVI_ASSIGN_OR_RETURN(results[at + ".q"], context.Download(qkv.q));
    OVI_ASSIGN_OR_RETURN(results[at + ".k"], context.Download(qkv.k));
    OVI_ASSIGN_OR_RETURN(results[at + ".v"], context.Download(qkv.v));
    OVI_RETURN_IF_ERROR(AttendSelf(context.runtime, block, config, stream.rope, stream.keys, stream.x));
    OVI_ASSIGN_OR_RETURN(const Tensor y,
                         AllocateLike(context.runtime, stream.x, stream.x.shape[0], config.dim, "y"));
    OVI_RETURN_IF_ERROR(RunLinear(context.runtime, block.self_o, {.a = stream.x, .out = y}));
    OVI_ASSIGN_OR_RETURN(results[at + ".y"], context.Download(y));
  }
  return Ok();
}

absl::Status TextEmbeddingTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(*dit, {FusionPiece::kText}));
  for (const Tower tower : kTowers) {
    const std::string at = "text_embedding." + TowerName(tower);
    OVI_ASSIGN_OR_RETURN(const Reference states, context.set.Tensor(at + ".context"));
    OVI_ASSIGN_OR_RETURN(
        const Tensor y,
        dit->EmbedText(*params, tower, HostTensor{states.values.data(), DType::kF32, states.shape}));
    OVI_ASSIGN_OR_RETURN(results[at + ".y"], context.Download(y));
  }
  return Ok();
}

// The latents of the forward tests and their geometry.
struct ForwardInput {
  LatentShape shape;
  Tensor video, audio;
};

absl::StatusOr<ForwardInput> UploadForward(const Context& context) {
  OVI_ASSIGN_OR_RETURN(const Reference video, context.set.Tensor("forward.vid"));
  OVI_ASSIGN_OR_RETURN(const Reference audio, context.set.Tensor("forward.audio"));
  ForwardInput input;
  input.shape = {.channels = video.shape[0],
                 .frames = video.shape[1],
                 .rows = video.shape[2],
                 .columns = video.shape[3],
                 .audio_length = audio.shape[0],
                 .audio_channels = audio.shape[1]};
  OVI_ASSIGN_OR_RETURN(input.video, context.Upload("forward.vid", DType::kF32, video.shape));
  OVI_ASSIGN_OR_RETURN(input.audio, context.Upload("forward.audio", DType::kF32, audio.shape));
  return input;
}

absl::Status PatchEmbeddingTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  OVI_ASSIGN_OR_RETURN(const ForwardInput input, UploadForward(context));
  FusionWalk walk = dit->Walk(FusionPassUnits(dit->config()));
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, walk.Next());
  const std::vector<std::int64_t>& patch = dit->config().video.patch;
  const std::int64_t tokens = input.shape.video().elements() / (input.shape.channels * patch[1] * patch[2]);
  OVI_ASSIGN_OR_RETURN(const Tensor video, dit->PatchVideo(*params, input.shape, {0, tokens}, input.video));
  OVI_ASSIGN_OR_RETURN(const Tensor audio, dit->PatchAudio(walk, *params, input.audio));
  OVI_ASSIGN_OR_RETURN(results["patch_embedding.video.y"], context.Download(video));
  OVI_ASSIGN_OR_RETURN(results["patch_embedding.audio.y"], context.Download(audio));
  return Ok();
}

// Embedded text `name` as the keys and values of one block.
absl::StatusOr<KeyValue> UploadText(const Context& context, const FusionDit& dit, Tower tower,
                                    std::int64_t block, const std::string& name) {
  const TowerConfig& config = dit.tower_config(tower);
  OVI_ASSIGN_OR_RETURN(const Reference reference, context.set.Tensor(name));
  OVI_ASSIGN_OR_RETURN(
      const Tensor embedded,
      context.Upload(name, context.compute(), {reference.shape.elements() / config.dim, config.dim}));
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(dit, {FusionPiece::kBlockPair, block}));
  return TextKeyValue(context.runtime, BlockOf(*params, tower), config, embedded);
}

absl::Status FusionAttentionTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  const std::int64_t index = context.test.params.at("block");
  for (const Tower tower : kTowers) {
    const Tower other_tower = tower == Tower::kVideo ? Tower::kAudio : Tower::kVideo;
    OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(*dit, {FusionPiece::kBlockPair, index}));
    const BlockParams& block = BlockOf(*params, tower);
    const std::string at = "fusion_attn." + TowerName(tower);
    OVI_ASSIGN_OR_RETURN(TowerStream stream,
                         UploadStream(context, *dit, tower, at + ".src", RopeOf(*dit, context, tower)));
    OVI_ASSIGN_OR_RETURN(TowerStream other, UploadStream(context, *dit, other_tower, at + ".target",
                                                         RopeOf(*dit, context, other_tower)));
    OVI_ASSIGN_OR_RETURN(const KeyValue text, UploadText(context, *dit, tower, index, at + ".context"));
    OVI_ASSIGN_OR_RETURN(const KeyValue fusion, FusionKeyValue(context.runtime, block, other));
    OVI_ASSIGN_OR_RETURN(const Tensor sum, CrossAttention(context.runtime, block, stream, stream.x, text,
                                                          {fusion, other.keys}));
    OVI_RETURN_IF_ERROR(RunLinear(context.runtime, block.cross_o, {.a = sum, .out = stream.x}));
    OVI_ASSIGN_OR_RETURN(results[at + ".y"], context.Download(stream.x));
  }
  return Ok();
}

absl::Status BlockPairTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  const std::int64_t index = context.test.params.at("block");
  const std::int64_t dim = dit->config().video.dim;
  OVI_ASSIGN_OR_RETURN(TowerStream video, UploadStream(context, *dit, Tower::kVideo, "block.video.x",
                                                       RopeOf(*dit, context, Tower::kVideo)));
  OVI_ASSIGN_OR_RETURN(TowerStream audio, UploadStream(context, *dit, Tower::kAudio, "block.audio.x",
                                                       RopeOf(*dit, context, Tower::kAudio)));
  const std::int64_t video_rows = video.x.shape[0];
  const std::int64_t audio_rows = audio.x.shape[0];
  OVI_ASSIGN_OR_RETURN(const Tensor video_e0,
                       context.Upload("block.video.e0", context.compute(), {video_rows, 6 * dim}));
  OVI_ASSIGN_OR_RETURN(const Tensor audio_e0,
                       context.Upload("block.audio.e0", context.compute(), {audio_rows, 6 * dim}));
  OVI_ASSIGN_OR_RETURN(const KeyValue video_text,
                       UploadText(context, *dit, Tower::kVideo, index, "block.video.context"));
  OVI_ASSIGN_OR_RETURN(const KeyValue audio_text,
                       UploadText(context, *dit, Tower::kAudio, index, "block.audio.context"));
  const std::vector<RowSegment> video_segments = OneRowSegments(video_rows);
  const std::vector<RowSegment> audio_segments = OneRowSegments(audio_rows);
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(*dit, {FusionPiece::kBlockPair, index}));
  OVI_RETURN_IF_ERROR(RunBlockPair(context.runtime,
                                   {params->video_block, video_segments, video_e0, video_text, video},
                                   {params->audio_block, audio_segments, audio_e0, audio_text, audio}));
  OVI_ASSIGN_OR_RETURN(results["block.video.y"], context.Download(video.x));
  OVI_ASSIGN_OR_RETURN(results["block.audio.y"], context.Download(audio.x));
  return Ok();
}

absl::Status HeadTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  OVI_ASSIGN_OR_RETURN(const FusionParams* params, ParamsOf(*dit, {FusionPiece::kHead}));
  for (const Tower tower : kTowers) {
    const std::string at = "head." + TowerName(tower);
    const std::int64_t dim = dit->tower_config(tower).dim;
    OVI_ASSIGN_OR_RETURN(const Reference x, context.set.Tensor(at + ".x"));
    const std::int64_t rows = x.shape.elements() / dim;
    TowerStream stream{.config = &dit->tower_config(tower), .x = {}, .rope = {}, .keys = rows};
    OVI_ASSIGN_OR_RETURN(stream.x, context.Upload(at + ".x", context.compute(), {rows, dim}));
    OVI_ASSIGN_OR_RETURN(const Tensor e, context.Upload(at + ".e", context.compute(), {rows, dim}));
    OVI_ASSIGN_OR_RETURN(const Tensor y, dit->RunHead(*params, tower, OneRowSegments(rows), e, stream));
    OVI_ASSIGN_OR_RETURN(results[at + ".y"], context.Download(y));
  }
  return Ok();
}

// forward_t2v, forward_t2v_slg, forward_i2v, forward_i2v_slg: the timestep is that of the mode.
absl::Status ForwardTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
  OVI_ASSIGN_OR_RETURN(const ForwardInput input, UploadForward(context));
  const std::string at = "forward." + context.test.id.substr(std::string("forward_").size());
  const std::string mode = at.substr(0, at.find("_slg"));
  OVI_ASSIGN_OR_RETURN(const Reference t, context.set.Tensor(mode + ".t"));
  OVI_ASSIGN_OR_RETURN(const Reference video_states, context.set.Tensor("forward.vid_context"));
  OVI_ASSIGN_OR_RETURN(const Reference audio_states, context.set.Tensor("forward.audio_context"));
  OVI_ASSIGN_OR_RETURN(
      const TextContext video_text,
      dit->PrepareText(Tower::kVideo, {video_states.values.data(), DType::kF32, video_states.shape}));
  OVI_ASSIGN_OR_RETURN(
      const TextContext audio_text,
      dit->PrepareText(Tower::kAudio, {audio_states.values.data(), DType::kF32, audio_states.shape}));
  const nlohmann::json slg = context.test.params.value("slg_layer", nlohmann::json());
  const FusionDit::Step step{
      .timestep = t.values.at(0),
      .first_frame_is_clean = context.test.params.value("first_frame_is_clean", false)};
  const FusionDit::Pass pass{
      .skip_block = slg.is_number() && slg.get<std::int64_t>() > 0 ? slg.get<std::int64_t>() : -1,
      .video_text = &video_text,
      .audio_text = &audio_text};
  OVI_ASSIGN_OR_RETURN(const Tensor video,
                       context.runtime.arena.Allocate(DType::kF32, input.shape.video(), "velocity"));
  OVI_ASSIGN_OR_RETURN(const Tensor audio,
                       context.runtime.arena.Allocate(DType::kF32, input.shape.audio(), "velocity"));
  absl::Status observed;
  const auto observer = [&](std::size_t, std::int64_t block, const Tensor& video_x, const Tensor& audio_x) {
    for (const auto& [name, x] : {std::pair{"video", &video_x}, std::pair{"audio", &audio_x}}) {
      absl::StatusOr<std::vector<float>> values = context.Download(*x);
      observed.Update(values.status());
      if (values.ok()) results[absl::StrCat(at, ".hidden.", block, ".", name)] = *std::move(values);
    }
  };
  const FusionDit::Velocity velocity{video, audio};
  OVI_RETURN_IF_ERROR(dit->Forward(input.shape, step, {&pass, 1}, input.video, input.audio, {&velocity, 1},
                                   NoCheck, observer));
  OVI_RETURN_IF_ERROR(observed);
  OVI_ASSIGN_OR_RETURN(results[at + ".vid_out"], context.Download(video));
  OVI_ASSIGN_OR_RETURN(results[at + ".audio_out"], context.Download(audio));
  return Ok();
}

absl::Status TextEncoderTest(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const TextConfig config, TextConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_t5"));
  OVI_ASSIGN_OR_RETURN(std::vector<std::vector<std::int32_t>> texts, TextIds(context.set));
  OVI_ASSIGN_OR_RETURN(const Reference long_ids, context.set.Tensor("t5.long_ids"));
  texts.emplace_back(long_ids.values.begin(), long_ids.values.end());
  OVI_ASSIGN_OR_RETURN(const std::vector<TextStates> states,
                       EncodeText(context.runtime, config, *weights, context.policy, texts, NoCheck));
  for (std::size_t i = 0; i + 1 < states.size(); ++i)
    results[absl::StrCat("t5.embedding.", i)] = states[i].values;
  results["t5.long_y"] = states.back().values;
  OVI_ASSIGN_OR_RETURN(const Reference positions, context.set.Tensor("t5.rel_pos"));
  for (const float position : positions.values) {
    results["t5.rel_bucket"].push_back(static_cast<float>(
        RelativeBucket(static_cast<std::int64_t>(position), config.buckets, config.max_distance)));
  }
  return Ok();
}

}  // namespace

const std::map<std::string, Runner>& FusionRunners() {
  static const std::map<std::string, Runner> runners = {{"time_embedding", TimeEmbeddingTest},
                                                        {"self_attention", SelfAttentionTest},
                                                        {"text_embedding", TextEmbeddingTest},
                                                        {"patch_embedding", PatchEmbeddingTest},
                                                        {"fusion_attention", FusionAttentionTest},
                                                        {"block_pair", BlockPairTest},
                                                        {"head", HeadTest},
                                                        {"forward_t2v", ForwardTest},
                                                        {"forward_t2v_slg", ForwardTest},
                                                        {"forward_i2v", ForwardTest},
                                                        {"forward_i2v_slg", ForwardTest},
                                                        {"t5", TextEncoderTest}};
  return runners;
}

}  // namespace ovi::golden
