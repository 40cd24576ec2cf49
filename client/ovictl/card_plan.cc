#include "client/ovictl/card_plan.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/ovictl/errors.h"
#include "worker/job/model_choice.h"
#include "worker/media/image.h"
#include "worker/pipeline/model_folder.h"
#include "worker/plan/gpu_catalog.h"

namespace ovi::client {
namespace {

absl::StatusOr<std::optional<FrameSize>> ImageSizeOf(const PromptItem& item) {
  if (item.image_path.empty()) return std::nullopt;
  OVI_ASSIGN_OR_RETURN(const Image image, LoadImage(item.image_path));
  return FrameSize{image.height, image.width};
}

absl::StatusOr<CardPlan> Prepare(const JobSpec& job, const ModelFolder& model, const CardChoice& card) {
  CardPlan plan;
  plan.model = model.spec.name;
  plan.frames = model.frames();
  OVI_ASSIGN_OR_RETURN(const std::optional<FrameSize> image, ImageSizeOf(job.prompts.front()));
  OVI_ASSIGN_OR_RETURN(plan.clip, ResolveClip(job, job.prompts.front(), 0, model, image));
  plan.gpu_bytes = card.gpu_memory;
  if (card.gpu.empty()) return plan;
  OVI_ASSIGN_OR_RETURN(const std::vector<GpuModel> gpus, LoadGpus(DefaultGpusFile()));
  absl::StatusOr<GpuModel> gpu = FindGpu(gpus, card.gpu);
  if (!gpu.ok()) return Annotate(gpu.status(), "--gpu");
  plan.gpu = *std::move(gpu);
  if (card.gpu_memory == 0) plan.gpu_bytes = plan.gpu->bytes;
  return plan;
}

}  // namespace

absl::StatusOr<CardPlan> PlanForCard(const JobSpec& job, const CardChoice& card, bool all,
                                     const std::function<absl::Status(int rows)>& on_progress) {
  const std::string name = job.model_name.empty() ? std::string(kDefaultModelName) : job.model_name;
  const absl::StatusOr<ModelFolder> model = OpenModelConfig(absl::StrCat(DefaultModelsDir(), "/", name));
  if (!model.ok()) return CannotBegin(model.status());
  absl::StatusOr<CardPlan> plan = Prepare(job, *model, card);
  if (!plan.ok()) return CannotBegin(plan.status());
  OVI_ASSIGN_OR_RETURN(plan->table,
                       MakePlanTable({.model = *model,
                                      .clip = plan->clip,
                                      .gpus = {.allocation = job.gpu_allocation, .gpu_count = job.gpu_count},
                                      .gpu_bytes = plan->gpu_bytes,
                                      .bytes_max = job.max_vram_bytes,
                                      .gpu = plan->gpu ? &*plan->gpu : nullptr,
                                      .all = all,
                                      .on_progress = on_progress}));
  return plan;
}

}  // namespace ovi::client
