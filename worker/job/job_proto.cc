#include "worker/job/job_proto.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "worker/job/model_choice.h"
#include "worker/job/vram_bytes.h"

namespace ovi {
namespace {

constexpr int kLorasMax = 8;
constexpr std::size_t kUserBytesMax = 64;

// Collects what is wrong, in the order of the checks.
class Checker {
 public:
  void Fail(std::string field, std::string description) {
    v1::FieldViolation violation;
    violation.set_field(std::move(field));
    violation.set_description(std::move(description));
    violations_.push_back(std::move(violation));
  }
  void Integer(std::string_view field, std::int64_t value, std::int64_t min, std::int64_t max) {
    if (value < min || value > max) {
      Fail(std::string(field),
           absl::StrCat("must be a whole number from ", min, " to ", max, ", got ", value));
    }
  }
  void Number(std::string_view field, double value, double min, double max) {
    if (!(value >= min && value <= max)) {  // also NaN
      Fail(std::string(field), absl::StrCat("must be a number from ", min, " to ", max, ", got ", value));
    }
  }
  void Text(std::string_view field, const std::string& text, std::size_t bytes_max) {
    if (text.size() > bytes_max) {
      Fail(std::string(field), absl::StrCat("must be at most ", bytes_max, " bytes, got ", text.size()));
    } else if (!IsValidUtf8(text) || text.find('\0') != std::string::npos) {
      Fail(std::string(field), "must be UTF-8 without NUL");
    }
  }
  template <typename Enum>
  void Word(std::string_view field, Enum value, bool known) {
    if (!known) Fail(std::string(field), absl::StrCat("has the unknown value ", static_cast<int>(value)));
  }
  std::vector<v1::FieldViolation> Take() { return std::move(violations_); }

 private:
  std::vector<v1::FieldViolation> violations_;
};

bool IsSha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

void CheckNames(const v1::JobSpec& spec, Checker& check) {
  if (!IsPlainName(spec.model_name()) || spec.model_name().size() > kModelNameBytesMax) {
    check.Fail("model_name", absl::StrCat("must be a model's name (letters, digits, - _ . and at most ",
                                          kModelNameBytesMax, "), got ", Quoted(spec.model_name())));
  }
  if (!IsPlainName(spec.user()) || spec.user().size() > kUserBytesMax) {
    check.Fail("user", absl::StrCat("must be at most ", kUserBytesMax, " of letters, digits, - _ . got ",
                                    Quoted(spec.user())));
  }
  check.Text("name", spec.name(), kModelNameBytesMax);
  if (std::any_of(spec.name().begin(), spec.name().end(), [](unsigned char c) { return c < 0x20; })) {
    check.Fail("name", "must not hold control characters");
  }
  check.Integer("priority", spec.priority(), -1000, 1000);
}

void CheckPrompts(const v1::JobSpec& spec, Checker& check) {
  check.Text("text_prompt", spec.text_prompt(), kPromptBytesMax);
  if (Trimmed(spec.text_prompt()).empty()) check.Fail("text_prompt", "must not be empty");
  if (spec.has_video_negative_prompt()) {
    check.Text("video_negative_prompt", spec.video_negative_prompt(), kPromptBytesMax);
  }
  if (spec.has_audio_negative_prompt()) {
    check.Text("audio_negative_prompt", spec.audio_negative_prompt(), kPromptBytesMax);
  }
  check.Word("mode", spec.mode(), v1::Mode_IsValid(spec.mode()));
  const bool framed = !spec.first_frame_sha256().empty();
  if (framed && !IsSha256(spec.first_frame_sha256())) {
    check.Fail("first_frame_sha256", "must be the 64 lower-case hex digits that UploadInput answered");
  } else if (spec.mode() == v1::MODE_I2V && !framed) {
    check.Fail("first_frame_sha256", "is needed for mode i2v");
  } else if (spec.mode() == v1::MODE_T2V && framed) {
    check.Fail("first_frame_sha256", "is only for mode i2v");
  }
}

void CheckSampling(const v1::JobSpec& spec, Checker& check) {
  if (spec.has_sample_steps()) check.Integer("sample_steps", spec.sample_steps(), 1, 1000);
  check.Word("solver", spec.solver(), v1::Solver_IsValid(spec.solver()));
  if (spec.has_shift() && !(spec.shift() > 0 && spec.shift() <= 100)) {
    check.Fail("shift", absl::StrCat("must be a number above 0, at most 100, got ", spec.shift()));
  }
  if (spec.has_video_guidance_scale())
    check.Number("video_guidance_scale", spec.video_guidance_scale(), 0, 100);
  if (spec.has_audio_guidance_scale())
    check.Number("audio_guidance_scale", spec.audio_guidance_scale(), 0, 100);
  if (spec.has_slg_layer()) check.Integer("slg_layer", spec.slg_layer(), -1, 1000);
  if (spec.has_size()) {
    check.Integer("size.height", spec.size().height(), 32, 8192);
    check.Integer("size.width", spec.size().width(), 32, 8192);
  }
  if (spec.has_duration_seconds()) check.Number("duration_seconds", spec.duration_seconds(), 0.1, 60);
}

void CheckGpus(const v1::JobSpec& spec, Checker& check) {
  check.Word("vram_mode", spec.vram_mode(), v1::VramMode_IsValid(spec.vram_mode()));
  if (spec.precision() == v1::PRECISION_REFERENCE && spec.vram_mode() > v1::VRAM_MODE_STANDARD) {
    check.Fail("vram_mode", "must be standard or auto with precision reference, which computes in fp32");
  }
  if (spec.max_vram_bytes() != 0) {
    check.Integer("max_vram_bytes", spec.max_vram_bytes(), kVramBytesMin, kVramBytesMax);
  }
  const v1::GpuAllocation allocation = spec.gpu_allocation();
  check.Word("gpu_allocation", allocation, v1::GpuAllocation_IsValid(allocation));
  if (allocation == v1::GPU_ALLOCATION_MULTI) {
    check.Integer("gpu_count", spec.gpu_count(), 2, kGpuCountMax);
  } else if (allocation == v1::GPU_ALLOCATION_FSDP) {
    if (spec.gpu_count() != 0) check.Integer("gpu_count", spec.gpu_count(), 2, kGpuCountMax);
  } else {
    check.Integer("gpu_count", spec.gpu_count(), 0, allocation == v1::GPU_ALLOCATION_SINGLE ? 1 : 0);
  }
  if (spec.loras_size() > kLorasMax) {
    check.Fail("loras", absl::StrCat("must be at most ", kLorasMax, ", got ", spec.loras_size()));
  }
  for (int i = 0; i < std::min(spec.loras_size(), kLorasMax); ++i) {
    const std::string field = absl::StrCat("loras[", i, "]");
    const std::string& name = spec.loras(i).path();
    if (name.empty() || name.size() > kModelNameBytesMax || !IsLoraName(name) || !IsPlainName(name)) {
      check.Fail(
          absl::StrCat(field, ".path"),
          absl::StrCat("must be the name of an adapter in the nodes' models folder (letters, digits, - _ . "
                       "and at most ",
                       kModelNameBytesMax, "; \"style\" is loras/style.safetensors), got ", Quoted(name)));
    }
    check.Number(absl::StrCat(field, ".strength"), spec.loras(i).strength(), -10, 10);
  }
  if (spec.loras_size() > 0 && !spec.enable_lora()) {
    check.Fail("enable_lora", "is false, which contradicts loras");
  }
}

void CheckNumerics(const v1::JobSpec& spec, Checker& check) {
  check.Word("precision", spec.precision(), v1::Precision_IsValid(spec.precision()));
  check.Word("noise_layout", spec.noise_layout(), v1::NoiseLayout_IsValid(spec.noise_layout()));
  if (spec.noise_layout() != v1::NOISE_LAYOUT_TORCH_CUDA) {
    if (spec.has_torch_cuda()) check.Fail("torch_cuda", "is only for noise_layout torch_cuda");
    return;
  }
  check.Integer("torch_cuda.sm_count", spec.torch_cuda().sm_count(), 1, 1024);
  check.Integer("torch_cuda.max_threads_per_sm", spec.torch_cuda().max_threads_per_sm(), 256, 4096);
}

GpuAllocation AllocationOf(v1::GpuAllocation allocation) {
  switch (allocation) {
    case v1::GPU_ALLOCATION_SINGLE:
      return GpuAllocation::kSingle;
    case v1::GPU_ALLOCATION_MULTI:
      return GpuAllocation::kMulti;
    case v1::GPU_ALLOCATION_FSDP:
      return GpuAllocation::kFsdp;
    default:
      return GpuAllocation::kAuto;
  }
}

std::optional<SolverKind> SolverOf(v1::Solver solver) {
  switch (solver) {
    case v1::SOLVER_UNIPC:
      return SolverKind::kUniPc;
    case v1::SOLVER_DPMPP:
      return SolverKind::kDpmPlusPlus;
    case v1::SOLVER_EULER:
      return SolverKind::kEuler;
    default:
      return std::nullopt;
  }
}

void ReadSampling(const v1::JobSpec& spec, JobSpec& job) {
  if (spec.has_video_negative_prompt()) job.video_negative_prompt = spec.video_negative_prompt();
  if (spec.has_audio_negative_prompt()) job.audio_negative_prompt = spec.audio_negative_prompt();
  if (spec.has_sample_steps()) job.sample_steps = spec.sample_steps();
  job.solver = SolverOf(spec.solver());
  if (spec.has_shift()) job.shift = spec.shift();
  if (spec.has_video_guidance_scale()) job.video_guidance_scale = spec.video_guidance_scale();
  if (spec.has_audio_guidance_scale()) job.audio_guidance_scale = spec.audio_guidance_scale();
  if (spec.has_slg_layer()) job.slg_layer = spec.slg_layer();
  if (spec.has_seed()) job.seed = spec.seed();
  if (spec.has_size()) job.size = Size{spec.size().height(), spec.size().width()};
  if (spec.has_duration_seconds()) job.duration_seconds = spec.duration_seconds();
}

}  // namespace

bool WantsLowRank(const v1::JobSpec& spec) {
  return spec.enable_lora() && spec.loras().empty();
}

VramMode VramModeOf(v1::VramMode mode) {
  switch (mode) {
    case v1::VRAM_MODE_STANDARD:
      return VramMode::kStandard;
    case v1::VRAM_MODE_FP8:
      return VramMode::kFp8;
    case v1::VRAM_MODE_FP8_OFFLOAD:
      return VramMode::kFp8Offload;
    case v1::VRAM_MODE_ULTRA_LOW:
      return VramMode::kUltraLow;
    default:
      return VramMode::kAuto;
  }
}

v1::VramMode ToProto(VramMode mode) {
  switch (mode) {
    case VramMode::kAuto:
      return v1::VRAM_MODE_AUTO;
    case VramMode::kStandard:
      return v1::VRAM_MODE_STANDARD;
    case VramMode::kFp8:
      return v1::VRAM_MODE_FP8;
    case VramMode::kFp8Offload:
      return v1::VRAM_MODE_FP8_OFFLOAD;
    case VramMode::kUltraLow:
      return v1::VRAM_MODE_ULTRA_LOW;
  }
  return v1::VRAM_MODE_UNSPECIFIED;
}

std::vector<v1::FieldViolation> CheckJobSpec(const v1::JobSpec& spec) {
  Checker check;
  CheckNames(spec, check);
  CheckPrompts(spec, check);
  CheckSampling(spec, check);
  CheckGpus(spec, check);
  CheckNumerics(spec, check);
  std::optional<Size> size;
  if (spec.has_size()) size = Size{spec.size().height(), spec.size().width()};
  std::optional<double> seconds;
  if (spec.has_duration_seconds()) seconds = spec.duration_seconds();
  const absl::StatusOr<ModelChoice> choice = ChooseModel(spec.model_name(), size, seconds);
  if (!choice.ok()) check.Fail("duration_seconds", std::string(choice.status().message()));
  return check.Take();
}

absl::StatusOr<JobSpec> JobFromProto(const v1::JobSpec& spec) {
  const std::vector<v1::FieldViolation> violations = CheckJobSpec(spec);
  if (!violations.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(violations.front().field(), " ", violations.front().description()));
  }
  JobSpec job;
  job.model_name = spec.model_name();
  job.mode = spec.first_frame_sha256().empty() ? Mode::kT2v : Mode::kI2v;
  job.prompts.push_back({.text = spec.text_prompt(), .image_path = ""});
  ReadSampling(spec, job);
  job.vram_mode = VramModeOf(spec.vram_mode());
  job.max_vram_bytes = spec.max_vram_bytes();
  job.gpu_allocation = AllocationOf(spec.gpu_allocation());
  job.gpu_count = job.gpu_allocation == GpuAllocation::kSingle ? 1 : spec.gpu_count();
  job.enable_lora = spec.enable_lora();
  for (const v1::Lora& lora : spec.loras())
    job.loras.push_back({.path = lora.path(), .strength = lora.strength()});
  job.precision =
      spec.precision() == v1::PRECISION_REFERENCE ? Precision::kReference : Precision::kAsExecuted;
  if (spec.noise_layout() == v1::NOISE_LAYOUT_TORCH_CUDA) {
    job.noise_layout = NoiseLayout::kTorchCuda;
    job.torch_cuda = TorchCudaDevice{spec.torch_cuda().sm_count(), spec.torch_cuda().max_threads_per_sm()};
  }
  return job;
}

}  // namespace ovi
