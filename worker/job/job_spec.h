// What a user asks for, as plain data: the result of reading a job's YAML (parse_job.h), the input of the
// planner and the pipeline. Knows no YAML. The words in the comments are the ones users write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/solver_kind.h"
#include "worker/job/vram_mode.h"

namespace ovi {

enum class Mode { kT2v, kI2v };                              // t2v, i2v
enum class GpuAllocation { kAuto, kSingle, kMulti, kFsdp };  // auto, single, multi_N, fsdp or fsdp_N
enum class Precision { kReference, kAsExecuted };  // reference (fp32), as_executed (as the original rounds)
enum class NoiseLayout { kElement, kTorchCuda };   // element, torch_cuda

struct PromptItem {
  std::string text;        // as written: UTF-8, no NUL, at most kPromptBytesMax, not only blanks
  std::string image_path;  // mode i2v: never empty; mode t2v: always empty
  bool operator==(const PromptItem&) const = default;
};

struct Size {
  int height = 0;  // pixels as asked; the model's preset snaps them later
  int width = 0;
  bool operator==(const Size&) const = default;
};

struct LoraSpec {
  std::string path;       // or a name, see IsLoraName
  double strength = 1.0;  // -10..10
  bool operator==(const LoraSpec&) const = default;
};

// The GPU whose PyTorch noise is wanted (noise_layout torch_cuda): it decides the order of the draws.
struct TorchCudaDevice {
  int sm_count = 0;
  int max_threads_per_sm = 0;
  bool operator==(const TorchCudaDevice&) const = default;
};

// gpu_count: the N of multi_N and fsdp_N, 1 with kSingle, 0 where the scheduler chooses.
struct GpuRequest {
  GpuAllocation allocation = GpuAllocation::kAuto;
  int gpu_count = 0;
  bool operator==(const GpuRequest&) const = default;
};

inline constexpr std::int64_t kPromptBytesMax = 64 * 1024;
inline constexpr int kGpuCountMax = 64;
inline constexpr std::size_t kModelNameBytesMax = 128;  // an adapter's too

// An unset optional is the model's own default.
struct JobSpec {
  std::string model_name;  // "" = the caller's default; a folder name, never a path
  std::string ckpt_dir;    // "" = the caller's default
  std::string output_dir;  // "" = the caller's default
  Mode mode = Mode::kT2v;
  std::vector<PromptItem> prompts;  // at least one
  int each_example_n_times = 1;     // repeats of each prompt, with seed, seed + 1, ...

  std::optional<std::string> video_negative_prompt;  // may be ""
  std::optional<std::string> audio_negative_prompt;
  std::optional<int> sample_steps;             // 1..1000
  std::optional<SolverKind> solver;            // unipc, dpm++, euler
  std::optional<double> shift;                 // above 0, at most 100
  std::optional<double> video_guidance_scale;  // 0..100
  std::optional<double> audio_guidance_scale;
  std::optional<int> slg_layer;  // -1 and 0 switch skip-layer guidance off
  std::optional<std::uint64_t> seed;
  std::optional<Size> size;  // in mode i2v the image's shape decides instead
  std::optional<double> duration_seconds;

  VramMode vram_mode = VramMode::kAuto;
  std::int64_t max_vram_bytes = 0;  // of each GPU at most; 0 = no limit, else kVramBytesMin..kVramBytesMax
  GpuAllocation gpu_allocation = GpuAllocation::kAuto;
  int gpu_count = 0;            // see GpuRequest
  bool enable_lora = false;     // true with no `loras`: low-rank compressed weights
  std::vector<LoraSpec> loras;  // adapters to merge; enable_lora is true then
  Precision precision = Precision::kAsExecuted;
  NoiseLayout noise_layout = NoiseLayout::kElement;
  std::optional<TorchCudaDevice> torch_cuda;  // set if and only if noise_layout is kTorchCuda

  std::vector<std::string> warnings;  // one line each: what was asked for and will not happen as written
};

// Whether the job asks for weights in the low-rank form: enable_lora without adapters.
inline bool WantsLowRank(const JobSpec& job) {
  return job.enable_lora && job.loras.empty();
}

// Letters, digits, - _ . and no dot in front: a name that could not lead out of a folder. Also "".
bool IsPlainName(std::string_view name);

// Whether `path` is an adapter's name, "style", rather than a file: it has no '/' and no ending of a weight
// file. The name's file is loras/style.safetensors in the models folder of whoever computes.
bool IsLoraName(std::string_view path);

// The users' words. ToString gives "multi" and "fsdp" for an allocation; with the count, "multi_4".
const char* ToString(Mode value);
const char* ToString(SolverKind value);
const char* ToString(GpuAllocation value);
const char* ToString(Precision value);
const char* ToString(NoiseLayout value);
std::string ToString(const GpuRequest& request);

// The other way; INVALID_ARGUMENT "must be one of t2v, i2v, got "x"" for any other word. Case matters.
absl::StatusOr<Mode> ParseMode(std::string_view word);
absl::StatusOr<SolverKind> ParseSolver(std::string_view word);
absl::StatusOr<VramMode> ParseVramMode(std::string_view word);
absl::StatusOr<GpuRequest> ParseGpuAllocation(std::string_view word);
absl::StatusOr<Precision> ParsePrecision(std::string_view word);
absl::StatusOr<NoiseLayout> ParseNoiseLayout(std::string_view word);

}  // namespace ovi
