#include "worker/pipeline/clip_request.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

absl::Status CheckDuration(const JobSpec& job, const ModelFolder& model) {
  if (!job.duration_seconds) return absl::OkStatus();
  const double seconds = static_cast<double>(model.frames()) / model.spec.fps;
  if (std::abs(*job.duration_seconds - seconds) < 0.5) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("duration: ", *job.duration_seconds,
                                                 " s was asked for, but model ", model.spec.name,
                                                 " makes clips of ", seconds, " s"));
}

// Rotary tables have 1024 positions an axis (ovi's limit); patches are what moves along rows and columns.
absl::Status CheckPositions(const ClipRequest& clip, const TowerConfig& video) {
  constexpr std::int64_t kPositionsMax = 1024;
  if (clip.latent.rows / video.patch[1] <= kPositionsMax &&
      clip.latent.columns / video.patch[2] <= kPositionsMax) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("size: ", clip.size.height, "x", clip.size.width,
                                                 " is too elongated: at most ", kPositionsMax,
                                                 " patches a side"));
}

absl::Status CheckPrecision(const JobSpec& job) {
  if (job.precision != Precision::kReference) return absl::OkStatus();
  if (WantsLowRank(job)) {
    return absl::InvalidArgumentError(
        "enable_lora: without loras it compresses weights, which contradicts precision reference; remove one "
        "of the two");
  }
  if (job.vram_mode == VramMode::kAuto || job.vram_mode == VramMode::kStandard) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("vram_mode: ", ToString(job.vram_mode),
                   " keeps weights in 8 bits, which contradicts precision reference; remove one of the two"));
}

}  // namespace

absl::StatusOr<ClipRequest> ResolveClip(const JobSpec& job, const PromptItem& item, int repeat,
                                        const ModelFolder& model, std::optional<FrameSize> image,
                                        std::int64_t low_rank) {
  const ModelDefaults& defaults = model.spec.defaults;
  OVI_RETURN_IF_ERROR(CheckDuration(job, model));
  OVI_RETURN_IF_ERROR(CheckPrecision(job));
  ClipRequest clip;
  clip.prompt = FormatPrompt(item.text, model.spec.prompt_style);
  clip.video_negative_prompt = job.video_negative_prompt.value_or(defaults.video_negative_prompt);
  clip.audio_negative_prompt = job.audio_negative_prompt.value_or(defaults.audio_negative_prompt);
  clip.seed = job.seed.value_or(defaults.seed) + static_cast<std::uint64_t>(repeat);
  clip.steps = job.sample_steps.value_or(defaults.sample_steps);
  clip.solver = job.solver.value_or(defaults.solver);
  clip.shift = job.shift.value_or(defaults.shift);
  clip.video_guidance_scale = job.video_guidance_scale.value_or(defaults.video_guidance_scale);
  clip.audio_guidance_scale = job.audio_guidance_scale.value_or(defaults.audio_guidance_scale);
  // Index 0 never skips: in the original 0 means off.
  const int slg = job.slg_layer.value_or(defaults.slg_layer);
  clip.skip_block = slg > 0 ? slg : -1;
  clip.policy =
      job.precision == Precision::kReference ? PrecisionPolicy::kReference : PrecisionPolicy::kAsExecuted;
  clip.vram_mode = job.vram_mode;
  clip.memory = LeastMemoryOf(job.vram_mode, WantsLowRank(job) ? low_rank : 0);
  clip.torch_cuda_noise = job.torch_cuda;
  clip.image_to_video = image.has_value();
  if (image) {
    OVI_ASSIGN_OR_RETURN(clip.size, FirstFrameSize(*image, model.spec.video_area));
  } else {
    const Size asked = job.size.value_or(Size{model.spec.default_height, model.spec.default_width});
    OVI_ASSIGN_OR_RETURN(clip.size, SnapResolution({asked.height, asked.width}, model.spec.video_area));
  }
  const std::int64_t factor = model.video_vae.spatial_factor();
  clip.latent = {.channels = model.video_vae.z_dim,
                 .frames = model.spec.video_latent_frames,
                 .rows = clip.size.height / factor,
                 .columns = clip.size.width / factor,
                 .audio_length = model.spec.audio_latent_length,
                 .audio_channels = model.audio_vae.embed_dim};
  OVI_RETURN_IF_ERROR(CheckPositions(clip, model.fusion.video));
  return clip;
}

}  // namespace ovi
