// One clip to be made, with every choice settled: what the job says, what the model's defaults say, what the
// sizes come to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/runtime.h"
#include "worker/pipeline/math/resolution.h"
#include "worker/pipeline/memory_layout.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/compressed_matrix.h"

namespace ovi {

struct ClipRequest {
  std::string prompt;  // in the model's own style
  std::string video_negative_prompt;
  std::string audio_negative_prompt;
  std::uint64_t seed = 0;
  int steps = 0;
  SolverKind solver = SolverKind::kUniPc;
  double shift = 0;
  double video_guidance_scale = 0;
  double audio_guidance_scale = 0;
  std::int64_t skip_block = -1;  // in the negative pass; -1 for none
  FrameSize size;                // pixels
  LatentShape latent;
  PrecisionPolicy policy = PrecisionPolicy::kAsExecuted;
  VramMode vram_mode = VramMode::kAuto;             // as asked for
  MemoryLayout memory;                              // the least of that mode, until a plan has settled it
  std::optional<TorchCudaDevice> torch_cuda_noise;  // the original GPU's noise instead of our own
  bool image_to_video = false;

  // Of the transformer.
  NumberFormat fusion_format() const {
    NumberFormat format = Bf16NetworkFormat(policy);
    if (policy == PrecisionPolicy::kAsExecuted) format.block_matrices = memory.block_matrices;
    return format;
  }
  // Guidance 1 on both sides is the positive prediction itself: one pass a step.
  bool needs_negative_pass() const { return video_guidance_scale != 1.0 || audio_guidance_scale != 1.0; }
};

// Pure. `image` is the size of the first frame's image in mode i2v, else nothing. `repeat` counts from 0 and
// is added to the seed. `low_rank`: of the compressed weights, should the job want them (low_rank_weights.h).
// INVALID_ARGUMENT when the model cannot do what the job asks for.
absl::StatusOr<ClipRequest> ResolveClip(const JobSpec& job, const PromptItem& item, int repeat,
                                        const ModelFolder& model, std::optional<FrameSize> image,
                                        std::int64_t low_rank = kDefaultRank);

}  // namespace ovi
