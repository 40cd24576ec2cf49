#include "worker/pipeline/stages.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/model/audio_vae.h"
#include "worker/model/sharded_weights.h"
#include "worker/model/video_vae.h"
#include "worker/model/vocoder.h"
#include "worker/pipeline/math/guidance.h"
#include "worker/pipeline/math/noise.h"
#include "worker/pipeline/math/solver.h"

namespace ovi {
namespace {

Rounding RoundingOf(PrecisionPolicy policy) {
  return policy == PrecisionPolicy::kReference ? Rounding::kFloat32 : Rounding::kBf16AsExecuted;
}

// Reports the steps of one stage with the mean time they took.
class StepReporter {
 public:
  StepReporter(const Control& control, Stage stage, int steps)
      : control_(control), stage_(stage), steps_(steps) {
    Report(0);
  }
  void Report(int done) const {
    if (!control_.on_progress) return;
    const std::chrono::duration<double> elapsed = Clock::now() - begin_;
    control_.on_progress({stage_, done, steps_, done == 0 ? 0.0 : elapsed.count() / done});
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Control& control_;
  Stage stage_;
  int steps_;
  Clock::time_point begin_ = Clock::now();
};

// Frame 0 of every channel of `video` (C, F, H, W) becomes `frame` (C, 1, H, W).
void OverwriteFirstFrame(const LatentShape& shape, std::span<const float> frame, std::vector<float>& video) {
  if (frame.empty()) return;
  const auto pixels = static_cast<std::size_t>(shape.rows * shape.columns);
  for (std::size_t channel = 0; channel < static_cast<std::size_t>(shape.channels); ++channel) {
    std::copy_n(frame.data() + channel * pixels, pixels,
                video.data() + channel * pixels * static_cast<std::size_t>(shape.frames));
  }
}

// Which passes this rank computes.
struct Passes {
  bool positive = true;
  bool negative = false;

  bool none() const { return !positive && !negative; }
};

Passes PassesOf(const ClipRequest& clip, const RankGroup* ranks) {
  if (ranks == nullptr) return {.positive = true, .negative = clip.needs_negative_pass()};
  if (!ranks->place()) return {.positive = false, .negative = false};
  if (!ranks->passes_are_split()) return {.positive = true, .negative = clip.needs_negative_pass()};
  const bool positive = ranks->place()->cfg_index == 0;
  return {.positive = positive, .negative = !positive};
}

// What the passes of a rank attend to.
struct TextContexts {
  TextContext video_positive, audio_positive, video_negative, audio_negative;
};

absl::StatusOr<TextContexts> PrepareTexts(const FusionDit& dit, const PromptStates& prompts, Passes passes) {
  TextContexts texts;
  std::vector<FusionDit::TextRequest> requests;
  std::vector<TextContext*> places;
  const auto ask = [&](Tower tower, const TextStates& states, TextContext& place) {
    requests.push_back({tower, states.view()});
    places.push_back(&place);
  };
  if (passes.positive) {
    ask(Tower::kVideo, prompts.positive, texts.video_positive);
    ask(Tower::kAudio, prompts.positive, texts.audio_positive);
  }
  if (passes.negative) {
    ask(Tower::kVideo, prompts.video_negative, texts.video_negative);
    ask(Tower::kAudio, prompts.audio_negative, texts.audio_negative);
  }
  OVI_ASSIGN_OR_RETURN(std::vector<TextContext> contexts, dit.PrepareTexts(requests));
  for (std::size_t i = 0; i < places.size(); ++i) *places[i] = std::move(contexts[i]);
  return texts;
}

// The device side of the loop: latents go up, the predictions of this rank's passes come down.
class Predictor {
 public:
  static absl::StatusOr<Predictor> Make(const FusionDit& dit, const ClipRequest& clip, Passes passes,
                                        const TextContexts& texts) {
    Predictor p(dit, clip.latent);
    Arena& arena = dit.runtime().arena;
    if (passes.positive) {
      p.passes_.push_back(
          {.skip_block = -1, .video_text = &texts.video_positive, .audio_text = &texts.audio_positive});
    }
    if (passes.negative) {
      p.passes_.push_back({.skip_block = clip.skip_block,
                           .video_text = &texts.video_negative,
                           .audio_text = &texts.audio_negative});
    }
    if (passes.none()) return p;
    const LatentShape& shape = clip.latent;
    OVI_ASSIGN_OR_RETURN(p.video_, arena.Allocate(DType::kF32, shape.video(), "video latents"));
    OVI_ASSIGN_OR_RETURN(p.audio_, arena.Allocate(DType::kF32, shape.audio(), "audio latents"));
    for (std::size_t i = 0; i < p.passes_.size(); ++i) {
      FusionDit::Velocity& velocity = p.velocities_.emplace_back();
      OVI_ASSIGN_OR_RETURN(velocity.video, arena.Allocate(DType::kF32, shape.video(), "video velocity"));
      OVI_ASSIGN_OR_RETURN(velocity.audio, arena.Allocate(DType::kF32, shape.audio(), "audio velocity"));
    }
    return p;
  }

  // `predictions`: one a pass, the positive one first.
  absl::Status Predict(const FusionDit::Step& step, const Latents& latents, const Control& control,
                       std::span<Latents* const> predictions) {
    Stream& stream = dit_->runtime().stream;
    if (!passes_.empty()) {
      stream.Upload(video_, HostTensor{latents.video.data(), DType::kF32, video_.shape});
      stream.Upload(audio_, HostTensor{latents.audio.data(), DType::kF32, audio_.shape});
    }
    OVI_RETURN_IF_ERROR(dit_->Forward(shape_, step, passes_, video_, audio_, velocities_,
                                      [&control] { return control.Check(); }));
    for (std::size_t i = 0; i < velocities_.size(); ++i) {
      Latents& to = *predictions[i];
      to.video.resize(static_cast<std::size_t>(video_.elements()));
      to.audio.resize(static_cast<std::size_t>(audio_.elements()));
      stream.Download(to.video.data(), velocities_[i].video);
      stream.Download(to.audio.data(), velocities_[i].audio);
    }
    return stream.Sync();
  }

 private:
  Predictor(const FusionDit& dit, const LatentShape& shape) : dit_(&dit), shape_(shape) {}

  const FusionDit* dit_;
  LatentShape shape_;
  Tensor video_, audio_;
  std::vector<FusionDit::Pass> passes_;
  std::vector<FusionDit::Velocity> velocities_;
};

// Gives the rank of the other pass this one's prediction and takes its.
absl::Status TradePredictions(RankGroup& ranks, PrecisionPolicy policy, const Latents& mine, Latents& other) {
  const WireFormat format = policy == PrecisionPolicy::kAsExecuted ? WireFormat::kBF16 : WireFormat::kF32;
  other.video.resize(mine.video.size());
  other.audio.resize(mine.audio.size());
  OVI_RETURN_IF_ERROR(ranks.ExchangePasses(mine.video, format, other.video));
  return ranks.ExchangePasses(mine.audio, format, other.audio);
}

absl::Status CheckSizes(const ClipRequest& clip, std::span<const float> first_frame, const Latents& latents) {
  const auto video = static_cast<std::int64_t>(latents.video.size());
  const auto audio = static_cast<std::int64_t>(latents.audio.size());
  if (video != clip.latent.video().elements() || audio != clip.latent.audio().elements()) {
    return absl::InvalidArgumentError(absl::StrCat("latents: ", video, " video and ", audio,
                                                   " audio values, expected ", clip.latent.video().ToString(),
                                                   " and ", clip.latent.audio().ToString()));
  }
  const std::int64_t frame = clip.latent.channels * clip.latent.rows * clip.latent.columns;
  if (!first_frame.empty() && static_cast<std::int64_t>(first_frame.size()) != frame) {
    return absl::InvalidArgumentError(
        absl::StrCat("first frame latent: ", first_frame.size(), " values, expected ", frame));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Latents> MakeNoise(const ClipRequest& clip) {
  Latents noise;
  const std::int64_t video = clip.latent.video().elements();
  const std::int64_t audio = clip.latent.audio().elements();
  if (clip.torch_cuda_noise) {
    const TorchCudaDevice& gpu = *clip.torch_cuda_noise;
    OVI_ASSIGN_OR_RETURN(noise.video, TorchCudaNoise(clip.seed, video, gpu.sm_count, gpu.max_threads_per_sm));
    OVI_ASSIGN_OR_RETURN(noise.audio, TorchCudaNoise(clip.seed, audio, gpu.sm_count, gpu.max_threads_per_sm));
    return noise;
  }
  const bool bf16 = clip.policy == PrecisionPolicy::kAsExecuted;
  noise.video.resize(static_cast<std::size_t>(video));
  noise.audio.resize(static_cast<std::size_t>(audio));
  FillNoise(clip.seed, kVideoNoiseStream, 0, noise.video, bf16);
  FillNoise(clip.seed, kAudioNoiseStream, 0, noise.audio, bf16);
  return noise;
}

absl::StatusOr<std::vector<float>> EncodeFirstFrame(const Runtime& runtime, const VideoVaeConfig& config,
                                                    const WeightSource& source, PrecisionPolicy policy,
                                                    std::span<const float> image, FrameSize size,
                                                    const Control& control) {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<VideoVaeEncoder> encoder,
                       VideoVaeEncoder::Load(runtime, config, source, policy, VideoVaeInput::kImage));
  OVI_ASSIGN_OR_RETURN(const Tensor planar,
                       runtime.arena.Allocate(DType::kF32, {3, size.height, size.width}, "first frame"));
  OVI_ASSIGN_OR_RETURN(const Tensor frame,
                       runtime.arena.Allocate(DType::kF32, {1, size.height, size.width, 3}, "first frame"));
  runtime.stream.Upload(planar, HostTensor{image.data(), DType::kF32, planar.shape});
  runtime.stream.Run(
      Permute{.in = planar, .axes = {1, 2, 0}, .out = frame.Reshaped({size.height, size.width, 3})});
  OVI_ASSIGN_OR_RETURN(const Tensor latent, encoder->Encode(frame, [&control] { return control.Check(); }));
  // (1, h, w, C) -> (C, 1, h, w)
  const Shape channels_first{latent.shape[3], 1, latent.shape[1], latent.shape[2]};
  OVI_ASSIGN_OR_RETURN(const Tensor out,
                       runtime.arena.Allocate(DType::kF32, channels_first, "first frame latent"));
  runtime.stream.Run(Permute{.in = latent, .axes = {3, 0, 1, 2}, .out = out});
  std::vector<float> values(static_cast<std::size_t>(out.elements()));
  runtime.stream.Download(values.data(), out);
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  if (policy == PrecisionPolicy::kAsExecuted) RoundToBFloat16(values);
  return values;
}

absl::StatusOr<std::unique_ptr<FusionDit>> LoadDit(const Runtime& runtime, const FusionConfig& config,
                                                   const WeightSource& source, const ClipRequest& clip,
                                                   const Control& control, std::unique_ptr<UnitShelf> shelf,
                                                   RankGroup* ranks) {
  const auto check = [&control] { return control.Check(); };
  const NumberFormat format = clip.fusion_format();
  std::unique_ptr<FusionWeights> weights;
  if (ranks != nullptr && ranks->topology().fsdp) {
    OVI_ASSIGN_OR_RETURN(
        weights, LoadShardedWeights(runtime, config, source, format, ranks->world(), ranks->shares(), check));
  } else if (clip.memory.streamed) {
    OVI_ASSIGN_OR_RETURN(weights, LoadStreamedWeights(runtime, config, source, format,
                                                      clip.memory.weight_bytes_max, std::move(shelf), check));
  } else {
    OVI_ASSIGN_OR_RETURN(weights, LoadResidentWeights(runtime, config, source, format, check));
  }
  std::optional<SequenceParallel> sequence;
  if (ranks != nullptr && ranks->sequence() != nullptr) {
    sequence = SequenceParallel{.communicator = ranks->sequence(), .shares = ranks->sequence_shares()};
  }
  return std::make_unique<FusionDit>(runtime, config, clip.policy, std::move(weights), std::move(sequence));
}

absl::Status Denoise(const FusionDit& dit, const ClipRequest& clip, const PromptStates& prompts,
                     std::span<const float> first_frame, const Control& control,
                     const DenoiseObserver& observer, Latents& latents, RankGroup* ranks) {
  OVI_RETURN_IF_ERROR(CheckSizes(clip, first_frame, latents));
  const Rounding rounding = RoundingOf(clip.policy);
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Solver> video_solver,
                       Solver::Make(clip.solver, clip.steps, clip.shift, rounding));
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<Solver> audio_solver,
                       Solver::Make(clip.solver, clip.steps, clip.shift, rounding));
  ArenaScope scope(dit.runtime().arena);
  const Passes passes = PassesOf(clip, ranks);
  OVI_ASSIGN_OR_RETURN(const TextContexts texts, PrepareTexts(dit, prompts, passes));
  OVI_ASSIGN_OR_RETURN(Predictor predictor, Predictor::Make(dit, clip, passes, texts));

  const bool guided = clip.needs_negative_pass();
  Latents positive;
  Latents negative;
  const std::array<Latents*, 2> both{&positive, &negative};
  const auto predictions = std::span(both).subspan(passes.positive ? 0 : 1);
  const StepReporter reporter(control, Stage::kDenoise, clip.steps);
  for (int step = 0; step < clip.steps; ++step) {
    OverwriteFirstFrame(clip.latent, first_frame, latents.video);
    const FusionDit::Step at{.timestep = video_solver->timesteps()[static_cast<std::size_t>(step)],
                             .first_frame_is_clean = !first_frame.empty()};
    OVI_RETURN_IF_ERROR(predictor.Predict(at, latents, control, predictions));
    if (passes.none()) continue;
    if (ranks != nullptr && ranks->passes_are_split()) {
      OVI_RETURN_IF_ERROR(passes.positive ? TradePredictions(*ranks, clip.policy, positive, negative)
                                          : TradePredictions(*ranks, clip.policy, negative, positive));
    }
    if (observer.on_prediction) {
      observer.on_prediction(step, true, positive.video, positive.audio);
      if (guided) observer.on_prediction(step, false, negative.video, negative.audio);
    }
    if (guided) {
      Guide(positive.video, negative.video, static_cast<float>(clip.video_guidance_scale), rounding,
            positive.video);
      Guide(positive.audio, negative.audio, static_cast<float>(clip.audio_guidance_scale), rounding,
            positive.audio);
    }
    video_solver->Step(step, positive.video, latents.video);
    audio_solver->Step(step, positive.audio, latents.audio);
    if (observer.on_step) observer.on_step(step, latents.video, latents.audio);
    reporter.Report(step + 1);
  }
  OverwriteFirstFrame(clip.latent, first_frame, latents.video);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> DecodeAudio(const Runtime& runtime, const AudioVaeConfig& vae,
                                               const WeightSource& vae_source, const VocoderConfig& vocoder,
                                               const WeightSource& vocoder_source, PrecisionPolicy policy,
                                               std::span<const float> latents, const Control& control) {
  const auto check = [&control] { return control.Check(); };
  ArenaScope scope(runtime.arena);
  const auto length = static_cast<std::int64_t>(latents.size()) / vae.embed_dim;
  OVI_ASSIGN_OR_RETURN(const AudioVaeDecoder decoder,
                       AudioVaeDecoder::Load(runtime, vae, vae_source, policy));
  OVI_ASSIGN_OR_RETURN(const Tensor z,
                       runtime.arena.Allocate(DType::kF32, {length, vae.embed_dim}, "audio latents"));
  runtime.stream.Upload(z, HostTensor{latents.data(), DType::kF32, z.shape});
  OVI_ASSIGN_OR_RETURN(const Tensor mel, decoder.Decode(z, check));
  OVI_ASSIGN_OR_RETURN(const Vocoder voice, Vocoder::Load(runtime, vocoder, vocoder_source, policy));
  OVI_ASSIGN_OR_RETURN(const Tensor wave, voice.Decode(mel, check));
  std::vector<float> samples(static_cast<std::size_t>(wave.elements()));
  runtime.stream.Download(samples.data(), wave);
  OVI_RETURN_IF_ERROR(runtime.stream.Sync());
  return samples;
}

RowSharding RowsOfRanks(RankGroup* ranks, std::int64_t latent_rows) {
  if (ranks == nullptr) return {};
  return {.communicator = &ranks->world(), .rows = Shard(latent_rows, ranks->shares())};
}

absl::Status DecodeVideo(const Runtime& runtime, const VideoVaeConfig& config, const WeightSource& source,
                         PrecisionPolicy policy, const LatentShape& shape, std::span<const float> latents,
                         const Control& control, const FrameSink& sink, int strips, const RowSharding& rows) {
  ArenaScope scope(runtime.arena);
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<VideoVaeDecoder> decoder,
                       VideoVaeDecoder::Load(runtime, config, source, policy));
  OVI_ASSIGN_OR_RETURN(const Tensor planar,
                       runtime.arena.Allocate(DType::kF32, shape.video(), "video latents"));
  OVI_ASSIGN_OR_RETURN(
      const Tensor frames,
      runtime.arena.Allocate(DType::kF32, {shape.frames, shape.rows, shape.columns, shape.channels},
                             "video latents"));
  runtime.stream.Upload(planar, HostTensor{latents.data(), DType::kF32, planar.shape});
  runtime.stream.Run(Permute{.in = planar, .axes = {1, 2, 3, 0}, .out = frames});
  const StepReporter reporter(control, Stage::kDecode, static_cast<int>(shape.frames) * strips);
  int steps = 0;
  for (const ShardRange& strip : Shard(shape.rows, strips)) {
    ArenaScope strip_scope(runtime.arena);
    OVI_RETURN_IF_ERROR(strips == 1 ? decoder->Begin(shape.rows, shape.columns, rows)
                                    : decoder->BeginStrip(shape.rows, shape.columns, strip));
    FramePlace place{.frame = 0, .row = strip.begin * config.spatial_factor()};
    for (std::int64_t frame = 0; frame < shape.frames; ++frame) {
      ArenaScope frame_scope(runtime.arena);
      const Tensor latent = frames.Slice(frame, 1).Reshaped({shape.rows, shape.columns, shape.channels});
      OVI_ASSIGN_OR_RETURN(const Tensor pixels,
                           decoder->DecodeNext(latent, [&control] { return control.Check(); }));
      OVI_RETURN_IF_ERROR(sink(pixels, place));
      place.frame += pixels.shape[0];
      reporter.Report(++steps);
    }
  }
  return runtime.stream.Sync();
}

}  // namespace ovi
