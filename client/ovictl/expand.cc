#include "client/ovictl/expand.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/text.h"
#include "worker/job/job_proto.h"

namespace ovi::client {
namespace {

v1::GpuAllocation ProtoOf(GpuAllocation allocation) {
  switch (allocation) {
    case GpuAllocation::kAuto:
      return v1::GPU_ALLOCATION_AUTO;
    case GpuAllocation::kSingle:
      return v1::GPU_ALLOCATION_SINGLE;
    case GpuAllocation::kMulti:
      return v1::GPU_ALLOCATION_MULTI;
    case GpuAllocation::kFsdp:
      return v1::GPU_ALLOCATION_FSDP;
  }
  OVI_CHECK(false);
}

v1::Solver ProtoOf(SolverKind solver) {
  switch (solver) {
    case SolverKind::kUniPc:
      return v1::SOLVER_UNIPC;
    case SolverKind::kDpmPlusPlus:
      return v1::SOLVER_DPMPP;
    case SolverKind::kEuler:
      return v1::SOLVER_EULER;
  }
  OVI_CHECK(false);
}

void SetSampling(const JobSpec& job, v1::JobSpec& spec) {
  if (job.video_negative_prompt) spec.set_video_negative_prompt(*job.video_negative_prompt);
  if (job.audio_negative_prompt) spec.set_audio_negative_prompt(*job.audio_negative_prompt);
  if (job.sample_steps) spec.set_sample_steps(*job.sample_steps);
  if (job.solver) spec.set_solver(ProtoOf(*job.solver));
  if (job.shift) spec.set_shift(*job.shift);
  if (job.video_guidance_scale) spec.set_video_guidance_scale(*job.video_guidance_scale);
  if (job.audio_guidance_scale) spec.set_audio_guidance_scale(*job.audio_guidance_scale);
  if (job.slg_layer) spec.set_slg_layer(*job.slg_layer);
  if (job.seed) spec.set_seed(*job.seed);
}

void SetNumerics(const JobSpec& job, v1::JobSpec& spec) {
  spec.set_precision(job.precision == Precision::kReference ? v1::PRECISION_REFERENCE
                                                            : v1::PRECISION_AS_EXECUTED);
  spec.set_noise_layout(job.noise_layout == NoiseLayout::kTorchCuda ? v1::NOISE_LAYOUT_TORCH_CUDA
                                                                    : v1::NOISE_LAYOUT_ELEMENT);
  if (job.torch_cuda) {
    spec.mutable_torch_cuda()->set_sm_count(job.torch_cuda->sm_count);
    spec.mutable_torch_cuda()->set_max_threads_per_sm(job.torch_cuda->max_threads_per_sm);
  }
}

// What all prompts share.
v1::JobSpec Common(const JobSpec& job, const ExpandOptions& options) {
  v1::JobSpec spec;
  spec.set_model_name(job.model_name);
  spec.set_mode(job.mode == Mode::kI2v ? v1::MODE_I2V : v1::MODE_T2V);
  SetSampling(job, spec);
  if (job.size) {
    spec.mutable_size()->set_height(job.size->height);
    spec.mutable_size()->set_width(job.size->width);
  }
  if (job.duration_seconds) spec.set_duration_seconds(*job.duration_seconds);
  spec.set_vram_mode(ToProto(job.vram_mode));
  spec.set_max_vram_bytes(job.max_vram_bytes);
  spec.set_gpu_allocation(ProtoOf(job.gpu_allocation));
  spec.set_gpu_count(job.gpu_count);
  spec.set_enable_lora(job.enable_lora);
  for (const LoraSpec& lora : job.loras) {
    v1::Lora* added = spec.add_loras();
    added->set_path(lora.path);
    added->set_strength(lora.strength);
  }
  SetNumerics(job, spec);
  spec.set_priority(options.priority);
  spec.set_name(options.name);
  spec.set_user(options.user);
  return spec;
}

}  // namespace

absl::Status CheckCount(const JobSpec& job, std::int64_t count_max) {
  const std::int64_t count = static_cast<std::int64_t>(job.prompts.size()) * job.each_example_n_times;
  if (count <= count_max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("this makes ", count, " jobs (", job.prompts.size(),
                                                 " prompts, each ", job.each_example_n_times,
                                                 " times), more than the ", count_max, " of --count-limit"));
}

absl::StatusOr<std::vector<v1::JobSpec>> Expand(const JobSpec& job, const ExpandOptions& options) {
  const int repeats = job.each_example_n_times;
  if (repeats > 1 && !job.seed) {
    return absl::InvalidArgumentError(
        absl::StrCat("each_example_n_times: ", repeats,
                     " videos of a prompt need a seed to count from; give one, as in --set seed=100"));
  }
  for (const LoraSpec& lora : job.loras) {
    if (IsLoraName(lora.path)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("loras: ", Quoted(lora.path),
                     " is a file; a cluster's job names an adapter that lies in the nodes' models folder: "
                     "\"style\" for loras/style.safetensors"));
  }
  std::vector<v1::JobSpec> specs;
  const v1::JobSpec common = Common(job, options);
  for (const PromptItem& item : job.prompts) {
    v1::JobSpec spec = common;
    spec.set_text_prompt(item.text);
    if (!item.image_path.empty()) {
      const auto frame = options.first_frames.find(item.image_path);
      OVI_CHECK(frame != options.first_frames.end());
      spec.set_first_frame_sha256(frame->second);
    }
    for (int repeat = 0; repeat < repeats; ++repeat) {
      if (job.seed) spec.set_seed(*job.seed + static_cast<std::uint64_t>(repeat));
      specs.push_back(spec);
    }
  }
  return specs;
}

std::vector<v1::SubmitJobsRequest> Batches(const std::vector<v1::JobSpec>& specs,
                                           const std::string& request_id) {
  constexpr std::size_t kFrameBytesMax = 6;  // tag and length of a job within the message
  std::vector<v1::SubmitJobsRequest> batches;
  std::size_t bytes = 0;  // of the last one, at most
  for (std::size_t i = 0; i < specs.size(); ++i) {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = specs[i];
    request.set_request_id(absl::StrCat(request_id, "-", i));
    const std::size_t more = request.ByteSizeLong() + kFrameBytesMax;
    if (batches.empty() || batches.back().requests_size() == kBatchJobsMax || bytes + more > kBatchBytesMax) {
      batches.emplace_back();
      bytes = 0;
    }
    bytes += more;
    *batches.back().add_requests() = std::move(request);
  }
  return batches;
}

std::vector<std::string> ExpandWarnings(const JobSpec& job) {
  std::vector<std::string> warnings = job.warnings;
  if (!job.ckpt_dir.empty()) warnings.push_back("ckpt_dir is ignored: each node has its own models folder");
  return warnings;
}

}  // namespace ovi::client
