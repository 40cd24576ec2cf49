#include "worker/pipeline/clip_metadata.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ovi {
namespace {

// "style 1, /adapters/look.safetensors 0.5"
std::string DescribeLoras(const std::vector<LoraSpec>& loras) {
  return absl::StrJoin(loras, ", ", [](std::string* text, const LoraSpec& lora) {
    absl::StrAppend(text, lora.path, " ", lora.strength);
  });
}

}  // namespace

std::map<std::string, std::string> ClipMetadata(const ModelSpec& model, const JobSpec& job,
                                                const ClipRequest& clip, const PromptItem& item) {
  std::map<std::string, std::string> tags = {
      {"title", item.text},
      {"model", model.name},
      {"seed", absl::StrCat(clip.seed)},
      {"steps", absl::StrCat(clip.steps)},
      {"mode", clip.image_to_video ? "i2v" : "t2v"},
      {"solver", ToString(clip.solver)},
      {"shift", absl::StrCat(clip.shift)},
      {"video_guidance_scale", absl::StrCat(clip.video_guidance_scale)},
      {"audio_guidance_scale", absl::StrCat(clip.audio_guidance_scale)},
      {"precision", ToString(job.precision)},
      {"vram_mode", ToString(clip.vram_mode)},
      {"version", OVI_VERSION}};
  if (clip.memory.block_matrices.low_rank > 0) tags["weights"] = "low_rank";
  if (!job.loras.empty()) tags["loras"] = DescribeLoras(job.loras);
  return tags;
}

}  // namespace ovi
