// Golden tests pipeline_<solver>_<mode>: the stages of the engine from token ids and given noise to frames
// and sound.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tests/golden/configs.h"
#include "worker/pipeline/stages.h"

namespace ovi::golden {
namespace {

absl::StatusOr<ClipRequest> RequestOf(const Context& context, const VideoVaeConfig& vae,
                                      const AudioVaeConfig& audio) {
  const nlohmann::json& p = context.test.params;
  ClipRequest clip;
  clip.steps = p.at("steps");
  clip.shift = p.at("shift");
  clip.video_guidance_scale = p.at("vg");
  clip.audio_guidance_scale = p.at("ag");
  const std::int64_t slg = p.at("slg");
  clip.skip_block = slg > 0 ? slg : -1;
  const std::string solver = p.at("solver");
  if (solver != "unipc" && solver != "dpmpp" && solver != "euler") {
    return absl::InvalidArgumentError("unknown solver " + solver);
  }
  clip.solver = solver == "unipc"   ? SolverKind::kUniPc
                : solver == "dpmpp" ? SolverKind::kDpmPlusPlus
                                    : SolverKind::kEuler;
  clip.latent = {.channels = vae.z_dim,
                 .frames = p.at("F"),
                 .rows = p.at("h"),
                 .columns = p.at("w"),
                 .audio_length = p.at("L"),
                 .audio_channels = audio.embed_dim};
  clip.size = {clip.latent.rows * vae.spatial_factor(), clip.latent.columns * vae.spatial_factor()};
  clip.policy = context.policy;
  clip.image_to_video = p.at("mode") == "i2v";
  return clip;
}

// (L, C) -> (C, L)
std::vector<float> Transposed(const std::vector<float>& values, std::int64_t columns) {
  const std::int64_t rows = static_cast<std::int64_t>(values.size()) / columns;
  std::vector<float> out;
  out.reserve(values.size());
  for (std::int64_t c = 0; c < columns; ++c) {
    for (std::int64_t r = 0; r < rows; ++r) out.push_back(values[static_cast<std::size_t>(r * columns + c)]);
  }
  return out;
}

absl::StatusOr<std::vector<float>> DecodeFrames(const Context& context, const VideoVaeConfig& config,
                                                const ClipRequest& clip, const std::vector<float>& latents) {
  OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_video_vae"));
  std::vector<float> pixels;  // (F, H, W, 3)
  OVI_RETURN_IF_ERROR(DecodeVideo(context.runtime, config, *weights, clip.policy, clip.latent, latents,
                                  Control{}, [&](const Tensor& frames, const FramePlace&) -> absl::Status {
                                    OVI_ASSIGN_OR_RETURN(const std::vector<float> values,
                                                         context.Download(frames));
                                    pixels.insert(pixels.end(), values.begin(), values.end());
                                    return absl::OkStatus();
                                  }));
  for (float& pixel : pixels) pixel = std::clamp(pixel, -1.0f, 1.0f);
  return Transposed(pixels, 3);
}

absl::StatusOr<PromptStates> Encode(const Context& context) {
  OVI_ASSIGN_OR_RETURN(const TextConfig config, TextConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_t5"));
  OVI_ASSIGN_OR_RETURN(const std::vector<std::vector<std::int32_t>> ids, TextIds(context.set));
  OVI_ASSIGN_OR_RETURN(
      std::vector<TextStates> states,
      EncodeText(context.runtime, config, *weights, context.policy, ids, [] { return absl::OkStatus(); }));
  return PromptStates{std::move(states.at(0)), std::move(states.at(1)), std::move(states.at(2))};
}

// The clip's noise, rounded where the policy holds latents in bf16.
absl::StatusOr<Latents> NoiseOf(const Context& context) {
  OVI_ASSIGN_OR_RETURN(Reference video, context.set.Tensor("pipeline.noise.video"));
  OVI_ASSIGN_OR_RETURN(Reference audio, context.set.Tensor("pipeline.noise.audio"));
  Latents noise{std::move(video.values), std::move(audio.values)};
  if (context.policy == PrecisionPolicy::kAsExecuted) {
    for (std::vector<float>* values : {&noise.video, &noise.audio}) {
      RoundToBFloat16(*values);
    }
  }
  return noise;
}

}  // namespace

absl::Status RunPipeline(const Context& context, Results& results) {
  OVI_ASSIGN_OR_RETURN(const VideoVaeConfig vae, VideoVaeConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const AudioVaeConfig audio_vae, AudioVaeConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const VocoderConfig vocoder, VocoderConfigOf(context.set));
  OVI_ASSIGN_OR_RETURN(const ClipRequest clip, RequestOf(context, vae, audio_vae));
  const std::string at = absl::StrCat("pipeline.", context.test.params.at("solver").get<std::string>(), ".",
                                      context.test.params.at("mode").get<std::string>(), ".");

  OVI_ASSIGN_OR_RETURN(const PromptStates prompts, Encode(context));
  std::vector<float> first_frame;
  if (clip.image_to_video) {
    OVI_ASSIGN_OR_RETURN(const WeightSource* weights, context.set.Weights("weights_video_vae"));
    OVI_ASSIGN_OR_RETURN(const Reference image, context.set.Tensor("pipeline.i2v.image"));
    OVI_ASSIGN_OR_RETURN(first_frame, EncodeFirstFrame(context.runtime, vae, *weights, clip.policy,
                                                       image.values, clip.size, Control{}));
    results["pipeline.i2v.image_latents"] = first_frame;
  }
  OVI_ASSIGN_OR_RETURN(Latents latents, NoiseOf(context));
  {
    ArenaScope scope(context.runtime.arena);
    OVI_ASSIGN_OR_RETURN(const std::unique_ptr<FusionDit> dit, LoadDit(context));
    DenoiseObserver observer;
    observer.on_prediction = [&](int step, bool positive, std::span<const float> video,
                                 std::span<const float> audio) {
      if (step != 0) return;
      const std::string pass = at + (positive ? "step0.pred_pos." : "step0.pred_neg.");
      results[pass + "video"].assign(video.begin(), video.end());
      results[pass + "audio"].assign(audio.begin(), audio.end());
    };
    observer.on_step = [&](int, std::span<const float> video, std::span<const float> audio) {
      std::vector<float>& videos = results[at + "latents.video"];
      std::vector<float>& audios = results[at + "latents.audio"];
      videos.insert(videos.end(), video.begin(), video.end());
      audios.insert(audios.end(), audio.begin(), audio.end());
    };
    OVI_RETURN_IF_ERROR(Denoise(*dit, clip, prompts, first_frame, Control{}, observer, latents));
  }
  results[at + "final_latents.video"] = latents.video;
  results[at + "final_latents.audio"] = Transposed(latents.audio, clip.latent.audio_channels);
  OVI_ASSIGN_OR_RETURN(const Schedule schedule, MakeSchedule(clip.solver, clip.steps, clip.shift));
  results[at + "sigmas"] = schedule.sigmas;
  results[at + "timesteps"].assign(schedule.timesteps.begin(), schedule.timesteps.end());
  OVI_ASSIGN_OR_RETURN(results[at + "frames"], DecodeFrames(context, vae, clip, latents.video));
  OVI_ASSIGN_OR_RETURN(const WeightSource* vae_weights, context.set.Weights("weights_audio_vae"));
  OVI_ASSIGN_OR_RETURN(const WeightSource* vocoder_weights, context.set.Weights("weights_vocoder"));
  OVI_ASSIGN_OR_RETURN(results[at + "waveform"],
                       DecodeAudio(context.runtime, audio_vae, *vae_weights, vocoder, *vocoder_weights,
                                   clip.policy, latents.audio, Control{}));
  return absl::OkStatus();
}

}  // namespace ovi::golden
