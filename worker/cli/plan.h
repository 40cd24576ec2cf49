// What `generate` settles before it computes anything. Whatever can be refused from options, job, model files
// and folders is refused here, not after an hour of denoising.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/cli/generate.h"
#include "worker/job/job_spec.h"
#include "worker/pipeline/clip_request.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/lora.h"

namespace ovi {

struct Plan {
  JobSpec job;
  ModelFolder model;
  std::string out;
  // Of every image of the job, by path. Pixels are loaded when their clip's turn comes: a job may name
  // thousands of images.
  std::map<std::string, FrameSize> image_sizes;
  std::vector<LoraAdapter> loras;  // of the job, opened
  // Of compressed weights, where the job wants them (low_rank_weights.h).
  std::string fusion_weights;
  std::int64_t low_rank = kDefaultRank;
};

// One line naming the option, the key, the file or the program that is missing or wrong.
absl::StatusOr<Plan> MakePlan(const GenerateOptions& options);

// The clip of one of the job's prompts. `repeat` counts from 0.
absl::StatusOr<ClipRequest> RequestOf(const Plan& plan, const PromptItem& item, int repeat);

}  // namespace ovi
