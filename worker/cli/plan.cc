#include "worker/cli/plan.h"

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/cache_dir.h"
#include "base/part_file.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "worker/cli/interrupt.h"
#include "worker/cli/tensor_dump.h"
#include "worker/job/model_choice.h"
#include "worker/job/parse_job.h"
#include "worker/media/image.h"
#include "worker/pipeline/check_weights.h"
#include "worker/pipeline/loras.h"
#include "worker/pipeline/low_rank_weights.h"
#include "worker/pipeline/weights_form.h"

namespace ovi {
namespace {

absl::StatusOr<std::vector<Override>> ParseSets(const std::vector<std::string>& sets) {
  std::vector<Override> overrides;
  for (const std::string& set : sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--set ", set, ": expected key=value"));
    }
    overrides.push_back({set.substr(0, equals), set.substr(equals + 1)});
  }
  return overrides;
}

// What the job asks for and this program cannot do yet: it only changes how much memory or how many devices
// it takes.
void WarnOfUnsupported(JobSpec& job) {
  if (job.gpu_allocation == GpuAllocation::kMulti || job.gpu_allocation == GpuAllocation::kFsdp) {
    job.warnings.push_back("gpu_allocation: this program computes in one process, on the CPU");
  }
}

// A block that the model does not have is skipped without anybody noticing.
void WarnOfSkippedNothing(Plan& plan) {
  const int slg = plan.job.slg_layer.value_or(0);
  if (slg < plan.model.fusion.video.layers) return;
  plan.job.warnings.push_back(absl::StrCat("slg_layer ", slg, ": ", plan.model.spec.name, " has blocks 0 to ",
                                           plan.model.fusion.video.layers - 1, ", so nothing is skipped"));
}

absl::Status CheckFfmpeg() {
  if (FindProgram("ffmpeg").ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "ffmpeg: the program that writes MP4 files was not found; install it (Debian and Ubuntu: apt install "
      "ffmpeg) or put it in PATH");
}

// The folder exists and takes files.
absl::Status PrepareFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return absl::FailedPreconditionError(
        absl::StrCat(folder, ": cannot make this folder: ", error.message()));
  return PartFile::Create(folder + "/ovi-worker-probe").status();
}

absl::StatusOr<std::map<std::string, FrameSize>> ReadImageSizes(const JobSpec& job) {
  std::map<std::string, FrameSize> sizes;
  for (const PromptItem& item : job.prompts) {
    if (item.image_path.empty() || sizes.contains(item.image_path)) continue;
    OVI_ASSIGN_OR_RETURN(const Image image, LoadImage(item.image_path));
    sizes[item.image_path] = {image.height, image.width};
  }
  return sizes;
}

// The model can make every clip, and given noise fits it.
absl::Status CheckClips(const Plan& plan, const std::string& noise) {
  for (const PromptItem& item : plan.job.prompts) {
    OVI_ASSIGN_OR_RETURN(const ClipRequest clip, RequestOf(plan, item, 0));
    if (!noise.empty()) OVI_RETURN_IF_ERROR(ReadNoise(noise, clip).status());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const GenerateOptions& options) {
  Plan plan;
  OVI_ASSIGN_OR_RETURN(const std::vector<Override> overrides, ParseSets(options.sets));
  OVI_ASSIGN_OR_RETURN(plan.job, LoadJob(options.config, overrides));
  WarnOfUnsupported(plan.job);
  const std::string name = plan.job.model_name.empty() ? std::string(kDefaultModelName) : plan.job.model_name;
  OVI_ASSIGN_OR_RETURN(
      plan.model,
      FindModel({.folder = options.model, .name = name, .ckpt_dir = plan.job.ckpt_dir}, DefaultModelsDir()));
  OVI_RETURN_IF_ERROR(CheckWeights(plan.model));
  OVI_ASSIGN_OR_RETURN(plan.loras, OpenLoras(plan.job.loras, plan.model));
  if (WantsLowRank(plan.job)) {
    OVI_ASSIGN_OR_RETURN(plan.low_rank, LowRankOf(plan.model));
  }
  WarnOfSkippedNothing(plan);
  OVI_ASSIGN_OR_RETURN(plan.image_sizes, ReadImageSizes(plan.job));
  OVI_RETURN_IF_ERROR(CheckClips(plan, options.noise));
  plan.out = !options.out.empty() ? options.out : plan.job.output_dir;
  if (plan.out.empty())
    return absl::InvalidArgumentError("--out: no folder for the results given, here or as output_dir");
  OVI_RETURN_IF_ERROR(CheckFfmpeg());
  OVI_RETURN_IF_ERROR(PrepareFolder(plan.out));
  if (!options.dump.empty()) OVI_RETURN_IF_ERROR(PartFile::Create(options.dump).status());
  // Last, since it may take a while.
  if (WantsLowRank(plan.job)) {
    const auto go_on = [](std::int64_t, std::int64_t) {
      return Interrupted().load() ? absl::CancelledError("interrupted") : absl::OkStatus();
    };
    OVI_ASSIGN_OR_RETURN(plan.fusion_weights, FindLowRankWeights(plan.model, DefaultCacheDir(), go_on));
  }
  return plan;
}

absl::StatusOr<ClipRequest> RequestOf(const Plan& plan, const PromptItem& item, int repeat) {
  const auto image = plan.image_sizes.find(item.image_path);
  return ResolveClip(plan.job, item, repeat, plan.model,
                     image == plan.image_sizes.end() ? std::nullopt : std::optional<FrameSize>(image->second),
                     plan.low_rank);
}

}  // namespace ovi
