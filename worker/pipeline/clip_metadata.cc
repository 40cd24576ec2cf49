#include "worker/pipeline/clip_metadata.h"

#include "absl/strings/str_cat.h"

namespace ovi {

std::map<std::string, std::string> ClipMetadata(const ModelSpec& model, const JobSpec& job,
                                                const ClipRequest& clip, const PromptItem& item) {
  return {{"title", item.text},
          {"model", model.name},
          {"seed", absl::StrCat(clip.seed)},
          {"steps", absl::StrCat(clip.steps)},
          {"mode", clip.image_to_video ? "i2v" : "t2v"},
          {"solver", ToString(clip.solver)},
          {"shift", absl::StrCat(clip.shift)},
          {"video_guidance_scale", absl::StrCat(clip.video_guidance_scale)},
          {"audio_guidance_scale", absl::StrCat(clip.audio_guidance_scale)},
          {"precision", ToString(job.precision)},
          {"version", OVI_VERSION}};
}

}  // namespace ovi
