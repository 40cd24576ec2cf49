#include "worker/pipeline/engine.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/model/text/clean.h"
#include "worker/model/text/tokenizer.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

// Measures one stage: its seconds and the arena's peak meanwhile.
template <typename Body>
absl::Status Measured(Stage stage, Arena& arena, ClipReport& report, const Body& body) {
  arena.ResetPeak();
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status status = body();
  arena.Trim();
  OVI_RETURN_IF_ERROR(status);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  report.stages.push_back({stage, seconds.count(), arena.bytes_peak()});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(Backend& backend, std::int64_t arena_bytes_max,
                                                       ModelFolder model) {
  auto engine = std::unique_ptr<Engine>(new Engine(backend, std::move(model)));
  OVI_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBlock> block, backend.AllocateBlock(arena_bytes_max));
  engine->arena_ = std::make_unique<Arena>(std::move(block));
  return engine;
}

absl::StatusOr<PromptStates> Engine::EncodePrompts(const Runtime& runtime, const ClipRequest& clip,
                                                   const Control& control) const {
  const TokenizerOptions options{.text_len = static_cast<int>(model_.text.text_len),
                                 .embedding_rows = static_cast<int>(model_.text.vocab),
                                 .add_eos = true};
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                       Tokenizer::Load(model_.tokenizer, options));
  std::vector<std::vector<std::int32_t>> ids;
  for (const std::string* text : {&clip.prompt, &clip.video_negative_prompt, &clip.audio_negative_prompt}) {
    OVI_ASSIGN_OR_RETURN(const std::string clean, CleanPrompt(*text));
    OVI_ASSIGN_OR_RETURN(ids.emplace_back(), tokenizer->Encode(clean));
  }
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model_.text_weights));
  OVI_ASSIGN_OR_RETURN(
      std::vector<TextStates> states,
      EncodeText(runtime, model_.text, *source, clip.policy, ids, [&control] { return control.Check(); }));
  return PromptStates{std::move(states[0]), std::move(states[1]), std::move(states[2])};
}

absl::Status Engine::DenoiseClip(const Runtime& runtime, const ClipRequest& clip, const PromptStates& prompts,
                                 std::span<const float> first_frame, const ClipInputs& inputs,
                                 const Control& control, Latents& latents) const {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model_.fusion_weights));
  OVI_ASSIGN_OR_RETURN(
      const std::unique_ptr<FusionDit> dit,
      FusionDit::Load(runtime, model_.fusion, *source, clip.policy, [&control] { return control.Check(); }));
  return ovi::Denoise(*dit, clip, prompts, first_frame, control, inputs.observer, latents);
}

absl::Status Engine::Decode(const Runtime& runtime, const ClipRequest& clip, const ClipInputs& inputs,
                            const Latents& latents, const Control& control, ClipSink& sink) const {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> audio_vae, OpenWeights(model_.audio_vae_weights));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> vocoder, OpenWeights(model_.vocoder_weights));
  OVI_ASSIGN_OR_RETURN(const std::vector<float> audio,
                       DecodeAudio(runtime, model_.audio_vae, *audio_vae, model_.vocoder, *vocoder,
                                   clip.policy, latents.audio, control));
  const ClipInfo info{.height = clip.size.height,
                      .width = clip.size.width,
                      .frames = model_.frames(),
                      .fps = model_.spec.fps,
                      .audio_sample_rate = model_.spec.audio_sample_rate};
  OVI_RETURN_IF_ERROR(sink.Begin(info, audio));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> video_vae, OpenWeights(model_.video_vae_weights));
  std::vector<std::uint8_t> rgb;
  std::vector<float> pixels;
  OVI_RETURN_IF_ERROR(DecodeVideo(
      runtime, model_.video_vae, *video_vae, clip.policy, clip.latent, latents.video, control,
      [&](const Tensor& frames) -> absl::Status {
        OVI_ASSIGN_OR_RETURN(const Tensor bytes, runtime.arena.Allocate(DType::kU8, frames.shape, "frames"));
        runtime.stream.Run(Elementwise{.kind = ElementwiseKind::kUnitToU8, .a = frames, .out = bytes});
        rgb.resize(static_cast<std::size_t>(bytes.elements()));
        runtime.stream.Download(rgb.data(), bytes);
        if (inputs.on_pixels) {
          pixels.resize(rgb.size());
          runtime.stream.Download(pixels.data(), frames);
        }
        OVI_RETURN_IF_ERROR(runtime.stream.Sync());
        if (inputs.on_pixels) inputs.on_pixels(pixels);
        return sink.AddFrames(rgb);
      }));
  return sink.Finish();
}

absl::StatusOr<ClipReport> Engine::Generate(const ClipRequest& clip, const ClipInputs& inputs,
                                            const Control& control, ClipSink& sink) {
  // A fresh stream for every clip: an error sticks to the one it happened on.
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, backend_.NewStream());
  const Runtime runtime{backend_, *stream, *arena_};
  ClipReport report;
  PromptStates prompts;
  std::vector<float> first_frame;
  OVI_RETURN_IF_ERROR(Measured(Stage::kEncode, *arena_, report, [&]() -> absl::Status {
    const int steps = clip.image_to_video ? 2 : 1;
    if (control.on_progress) control.on_progress({Stage::kEncode, 0, steps, 0});
    OVI_ASSIGN_OR_RETURN(prompts, EncodePrompts(runtime, clip, control));
    if (control.on_progress) control.on_progress({Stage::kEncode, 1, steps, 0});
    if (!clip.image_to_video) return absl::OkStatus();
    OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model_.video_vae_weights));
    OVI_ASSIGN_OR_RETURN(first_frame, EncodeFirstFrame(runtime, model_.video_vae, *source, clip.policy,
                                                       inputs.image, clip.size, control));
    if (control.on_progress) control.on_progress({Stage::kEncode, 2, steps, 0});
    return absl::OkStatus();
  }));
  OVI_RETURN_IF_ERROR(Measured(Stage::kDenoise, *arena_, report, [&]() -> absl::Status {
    if (inputs.noise) {
      report.latents = *inputs.noise;
    } else {
      OVI_ASSIGN_OR_RETURN(report.latents, MakeNoise(clip));
    }
    return DenoiseClip(runtime, clip, prompts, first_frame, inputs, control, report.latents);
  }));
  OVI_RETURN_IF_ERROR(Measured(Stage::kDecode, *arena_, report,
                               [&] { return Decode(runtime, clip, inputs, report.latents, control, sink); }));
  return report;
}

}  // namespace ovi
