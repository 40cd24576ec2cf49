#include "worker/pipeline/engine.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/cache_dir.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/model/text/clean.h"
#include "worker/model/text/tokenizer.h"
#include "worker/pipeline/clip_assembly.h"
#include "worker/pipeline/unit_folder.h"
#include "worker/weights/file_identity.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

// Every rank gets the states that the leader has.
absl::Status ShareStates(RankGroup& ranks, std::int64_t dim, TextStates& states) {
  OVI_RETURN_IF_ERROR(ranks.FromLeader(states.values));
  states.dim = dim;
  states.tokens = static_cast<std::int64_t>(states.values.size()) / dim;
  return absl::OkStatus();
}

absl::Status ShareInputs(RankGroup& ranks, std::int64_t dim, PromptStates& prompts,
                         std::vector<float>& first_frame) {
  for (TextStates* states : {&prompts.positive, &prompts.video_negative, &prompts.audio_negative}) {
    OVI_RETURN_IF_ERROR(ShareStates(ranks, dim, *states));
  }
  return ranks.FromLeader(first_frame);
}

// What the bytes of streamed weights follow from.
std::string UnitIdentity(const Backend& backend, const WeightSource& source, const ClipRequest& clip,
                         const std::vector<LoraAdapter>& loras) {
  std::string identity = absl::StrCat(backend.WeightLayout(), "\n", FileIdentity(source.path()), "\n",
                                      ToString(clip.fusion_format().block_matrices));
  for (const LoraAdapter& lora : loras) {
    absl::StrAppend(&identity, "\n", lora.strength, " ", FileIdentity(lora.path));
  }
  return identity;
}

}  // namespace

template <typename Body>
absl::Status Engine::Measured(Stage stage, const ClipInputs& inputs, ClipReport& report, const Body& body) {
  arena_->ResetPeak();
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status = body();
  arena_->Trim();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const StageReport measured{stage, seconds.count(), arena_->bytes_peak(), arena_->peak_by_use()};
  if (inputs.on_stage) inputs.on_stage(measured);
  OVI_RETURN_IF_ERROR(status);
  report.stages.push_back(measured);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(Backend& backend, std::int64_t arena_bytes_max,
                                                       ModelFolder model, EngineFiles files) {
  if (!files.open_weights) files.open_weights = OpenWeights;
  if (!files.open_shelf) {
    files.open_shelf = [](const std::string& identity) {
      return MakeUnitFolder(DefaultCacheDir(), identity);
    };
  }
  auto engine = std::unique_ptr<Engine>(new Engine(backend, std::move(model), std::move(files)));
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, backend.AllocateBlock(arena_bytes_max));
  engine->arena_ = std::make_unique<Arena>(std::move(block));
  return engine;
}

absl::StatusOr<std::vector<std::vector<std::int32_t>>> Engine::Tokenize(const ClipRequest& clip) {
  if (tokenizer_ == nullptr) {
    const TokenizerOptions options{.text_len = static_cast<int>(model_.text.text_len),
                                   .embedding_rows = static_cast<int>(model_.text.vocab),
                                   .add_eos = true};
    OVI_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Load(model_.tokenizer, options));
  }
  std::vector<std::vector<std::int32_t>> ids;
  for (const std::string* text : {&clip.prompt, &clip.video_negative_prompt, &clip.audio_negative_prompt}) {
    OVI_ASSIGN_OR_RETURN(const std::string clean, CleanPrompt(*text));
    OVI_ASSIGN_OR_RETURN(ids.emplace_back(), tokenizer_->Encode(clean));
  }
  return ids;
}

absl::StatusOr<PromptStates> Engine::EncodePrompts(const Runtime& runtime, const ClipRequest& clip,
                                                   const ClipInputs& inputs, const Control& control) {
  std::vector<std::vector<std::int32_t>> ids;
  if (inputs.assumed_prompt_tokens) {
    ids.assign(3, std::vector<std::int32_t>(static_cast<std::size_t>(*inputs.assumed_prompt_tokens)));
  } else {
    OVI_ASSIGN_OR_RETURN(ids, Tokenize(clip));
  }
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, files_.open_weights(model_.text_weights));
  OVI_ASSIGN_OR_RETURN(
      std::vector<TextStates> states,
      EncodeText(runtime, model_.text, *source, clip.policy, ids, [&control] { return control.Check(); }));
  return PromptStates{std::move(states[0]), std::move(states[1]), std::move(states[2])};
}

absl::Status Engine::DenoiseClip(const Runtime& runtime, const ClipRequest& clip, const PromptStates& prompts,
                                 std::span<const float> first_frame, const ClipInputs& inputs,
                                 const Control& control, RankGroup* ranks, Latents& latents) const {
  if (inputs.noise) {
    latents = *inputs.noise;
  } else {
    OVI_ASSIGN_OR_RETURN(latents, MakeNoise(clip));
  }
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(
      std::unique_ptr<WeightSource> source,
      files_.open_weights(inputs.fusion_weights.empty() ? model_.fusion_weights : inputs.fusion_weights));
  std::unique_ptr<UnitShelf> shelf;
  if (clip.memory.streamed) shelf = files_.open_shelf(UnitIdentity(backend_, *source, clip, inputs.loras));
  source = MergeLoras(std::move(source), inputs.loras);
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit,
                       LoadDit(runtime, model_.fusion, *source, clip, control, std::move(shelf), ranks));
  OVI_RETURN_IF_ERROR(
      ovi::Denoise(*dit, clip, prompts, first_frame, control, inputs.observer, latents, ranks));
  if (ranks == nullptr) return absl::OkStatus();
  // A spare rank has none, and those of ranks with other processors may differ in the last bits.
  OVI_RETURN_IF_ERROR(ranks->FromLeader(latents.video));
  return ranks->FromLeader(latents.audio);
}

absl::Status Engine::BeginClip(const Runtime& runtime, const ClipRequest& clip, const Latents& latents,
                               const Control& control, ClipSink& sink) const {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> audio_vae,
                       files_.open_weights(model_.audio_vae_weights));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> vocoder,
                       files_.open_weights(model_.vocoder_weights));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> audio,
                       DecodeAudio(runtime, model_.audio_vae, *audio_vae, model_.vocoder, *vocoder,
                                   clip.policy, latents.audio, control));
  const ClipInfo info{.height = clip.size.height,
                      .width = clip.size.width,
                      .frames = model_.frames(),
                      .fps = model_.spec.fps,
                      .audio_sample_rate = model_.spec.audio_sample_rate};
  return sink.Begin(info, audio);
}

absl::Status Engine::Decode(const Runtime& runtime, const ClipRequest& clip, const ClipInputs& inputs,
                            const Latents& latents, const Control& control, ClipSink* sink,
                            RankGroup* ranks) const {
  if (sink != nullptr) OVI_RETURN_IF_ERROR(BeginClip(runtime, clip, latents, control, *sink));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> video_vae,
                       files_.open_weights(model_.video_vae_weights));
  const RowSharding rows = RowsOfRanks(ranks, clip.latent.rows);
  // Every rank's rows of `mine`, together on the leader; elsewhere, what is returned holds nothing.
  const auto together = [&](const Tensor& mine) -> absl::StatusOr<Tensor> {
    if (ranks == nullptr) return mine;
    Tensor all;
    if (ranks->leads()) {
      const ArenaUse use(runtime.arena, MemoryUse::kCommunication);
      const Shape shape{mine.shape[0], clip.size.height, clip.size.width, 3};
      OVI_ASSIGN_OR_RETURN(all, runtime.arena.Allocate(mine.dtype, shape, "frames of all ranks"));
    }
    OVI_RETURN_IF_ERROR(GatherRows(rows, &runtime.stream, mine, all, /*root=*/0));
    return all;
  };
  // With strips, the whole clip comes together here before it goes out in order.
  const bool strips = ranks == nullptr && clip.memory.decode_strips > 1;
  ClipAssembly assembly(clip.size, strips && sink != nullptr ? model_.frames() : 0);
  std::vector<std::uint8_t> rgb;
  std::vector<float> pixels;
  const auto take = [&](const Tensor& frames, const FramePlace& place) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(const Tensor bytes, runtime.arena.Allocate(DType::kU8, frames.shape, "frames"));
    runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kUnitToU8, .a = frames, .out = bytes});
    OVI_ASSIGN_OR_RETURN(const Tensor whole, together(bytes));
    if (sink == nullptr) return absl::OkStatus();
    rgb.resize(static_cast<std::size_t>(whole.elements()));
    runtime.stream.Download(rgb.data(), whole);
    if (inputs.on_pixels && ranks == nullptr) {
      pixels.resize(rgb.size());
      runtime.stream.Download(pixels.data(), frames);
    }
    OVI_RETURN_IF_ERROR(runtime.stream.Sync());
    if (strips) {
      assembly.Put(rgb, pixels, frames.shape, place);
      return absl::OkStatus();
    }
    if (!pixels.empty()) inputs.on_pixels(pixels);
    return sink->AddFrames(rgb);
  };
  OVI_RETURN_IF_ERROR(DecodeVideo(runtime, model_.video_vae, *video_vae, clip.policy, clip.latent,
                                  latents.video, control, take, strips ? clip.memory.decode_strips : 1,
                                  rows));
  if (sink == nullptr) return absl::OkStatus();
  if (strips) {
    if (!assembly.pixels().empty()) inputs.on_pixels(assembly.pixels());
    OVI_RETURN_IF_ERROR(sink->AddFrames(assembly.rgb()));
  }
  return sink->Finish();
}

absl::Status Engine::Encode(const Runtime& runtime, const ClipRequest& clip, const ClipInputs& inputs,
                            const Control& control, PromptStates& prompts, std::vector<float>& first_frame) {
  const int steps = clip.image_to_video ? 2 : 1;
  if (control.on_progress) control.on_progress({Stage::kEncode, 0, steps, 0});
  OVI_ASSIGN_OR_RETURN(prompts, EncodePrompts(runtime, clip, inputs, control));
  if (control.on_progress) control.on_progress({Stage::kEncode, 1, steps, 0});
  if (!clip.image_to_video) return absl::OkStatus();
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source,
                       files_.open_weights(model_.video_vae_weights));
  OVI_ASSIGN_OR_RETURN(first_frame, EncodeFirstFrame(runtime, model_.video_vae, *source, clip.policy,
                                                     inputs.image, clip.size, control));
  if (control.on_progress) control.on_progress({Stage::kEncode, 2, steps, 0});
  return absl::OkStatus();
}

absl::StatusOr<ClipReport> Engine::MakeClip(const ClipRequest& clip, const ClipInputs& inputs,
                                            const Control& control, ClipSink* sink, RankGroup* ranks) {
  // A fresh stream for every clip: an error sticks to the one it happened on.
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, backend_.NewStream());
  const Runtime runtime{backend_, *stream, *arena_};
  ClipReport report;
  PromptStates prompts;
  std::vector<float> first_frame;
  // Its size is known before its values are.
  if (sink == nullptr && clip.image_to_video) {
    first_frame.resize(
        static_cast<std::size_t>(clip.latent.channels * clip.latent.rows * clip.latent.columns));
  }
  OVI_RETURN_IF_ERROR(Measured(Stage::kEncode, inputs, report, [&]() -> absl::Status {
    if (sink != nullptr) OVI_RETURN_IF_ERROR(Encode(runtime, clip, inputs, control, prompts, first_frame));
    return ranks == nullptr ? absl::OkStatus() : ShareInputs(*ranks, model_.text.dim, prompts, first_frame);
  }));
  OVI_RETURN_IF_ERROR(Measured(Stage::kDenoise, inputs, report, [&] {
    return DenoiseClip(runtime, clip, prompts, first_frame, inputs, control, ranks, report.latents);
  }));
  OVI_RETURN_IF_ERROR(Measured(Stage::kDecode, inputs, report, [&] {
    return Decode(runtime, clip, inputs, report.latents, control, sink, ranks);
  }));
  return report;
}

absl::StatusOr<ClipReport> Engine::Generate(const ClipRequest& clip, const ClipInputs& inputs,
                                            const Control& control, ClipSink& sink, RankGroup* ranks) {
  OVI_CHECK(ranks == nullptr || ranks->leads());
  return MakeClip(clip, inputs, control, &sink, ranks);
}

absl::StatusOr<ClipReport> Engine::Assist(const ClipRequest& clip, const ClipInputs& inputs,
                                          const Control& control, RankGroup& ranks) {
  OVI_CHECK(!ranks.leads());
  return MakeClip(clip, inputs, control, nullptr, &ranks);
}

}  // namespace ovi
