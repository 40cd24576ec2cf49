#include "worker/job/parse_job.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml_value.h"
#include "worker/job/legacy.h"
#include "worker/job/model_choice.h"
#include "worker/job/prompts.h"
#include "worker/job/vram_bytes.h"

namespace ovi {
namespace {

constexpr std::int64_t kWordBytesMax = 4096;
constexpr std::size_t kLorasMax = 8;

// Converters from a node, for Settings::Get.

auto IntegerIn(int min, int max) {
  return [min, max](const YamlNode& node) -> absl::StatusOr<int> {
    OVI_ASSIGN_OR_RETURN(const std::int64_t number, YamlInteger(node, min, max));
    return static_cast<int>(number);
  };
}

auto NumberIn(double min, double max) {
  return [min, max](const YamlNode& node) { return YamlNumber(node, min, max); };
}

template <typename Value>
auto WordWith(absl::StatusOr<Value> (*parse)(std::string_view)) {
  return [parse](const YamlNode& node) -> absl::StatusOr<Value> {
    OVI_ASSIGN_OR_RETURN(const std::string word, YamlText(node, kWordBytesMax));
    return parse(word);
  };
}

absl::StatusOr<std::string> NegativePrompt(const YamlNode& node) {
  return YamlText(node, kPromptBytesMax);
}

absl::StatusOr<double> Shift(const YamlNode& node) {
  const absl::StatusOr<double> shift = YamlNumber(node, 0.0, 100.0);
  if (!shift.ok() || *shift == 0.0) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be a number above 0, at most 100, got ", Describe(node)));
  }
  return *shift;
}

// 5, 5.0, "5" or "5s".
absl::StatusOr<double> Duration(const YamlNode& node) {
  YamlNode number = node;
  number.plain = true;
  if (!number.scalar.empty() && number.scalar.back() == 's') number.scalar.pop_back();
  const absl::StatusOr<double> seconds = YamlNumber(number, 0.1, 60.0);
  if (!seconds.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be seconds from 0.1 to 60, such as 5 or \"10s\", got ", Describe(node)));
  }
  return *seconds;
}

// The name of a folder below the models' folder, so nothing that could lead out of it.
absl::StatusOr<std::string> ModelName(const YamlNode& node) {
  OVI_ASSIGN_OR_RETURN(const std::string name, YamlText(node, kWordBytesMax));
  if (!IsPlainName(name) || name.size() > kModelNameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be a model's name (letters, digits, - _ . and at most ", kModelNameBytesMax,
                     "; a folder goes into ckpt_dir), got ", Quoted(name)));
  }
  return name;
}

absl::StatusOr<LoraSpec> Lora(const YamlNode& node) {
  LoraSpec lora;
  if (node.kind != YamlNode::Kind::kMap) {
    OVI_ASSIGN_OR_RETURN(lora.path, YamlPath(node));
  }
  for (const YamlEntry& entry : node.entries) {
    if (entry.key == "path") {
      OVI_ASSIGN_OR_RETURN(lora.path, YamlPath(entry.value));
    } else if (entry.key == "strength") {
      OVI_ASSIGN_OR_RETURN(lora.strength, YamlNumber(entry.value, -10.0, 10.0));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("has the unknown key ", Quoted(entry.key), "; an adapter has path and strength"));
    }
  }
  if (lora.path.empty()) return absl::InvalidArgumentError("needs a path");
  if (IsLoraName(lora.path) && (!IsPlainName(lora.path) || lora.path.size() > kModelNameBytesMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be an adapter's name (letters, digits, - _ . and at most ", kModelNameBytesMax,
                     ") or a file's path, got ", Quoted(lora.path)));
  }
  return lora;
}

absl::StatusOr<std::vector<LoraSpec>> Loras(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kSequence || node.items.size() > kLorasMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be a list of at most ", kLorasMax, " adapters, got ", Describe(node)));
  }
  std::vector<LoraSpec> loras;
  for (const YamlNode& item : node.items) {
    absl::StatusOr<LoraSpec> lora = Lora(item);
    if (!lora.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("[", loras.size(), "] ", lora.status().message()));
    }
    loras.push_back(*std::move(lora));
  }
  return loras;
}

// Groups of keys, each into its part of the spec.

absl::Status ReadSampling(const Settings& settings, JobSpec& spec) {
  OVI_ASSIGN_OR_RETURN(spec.sample_steps, settings.Get("sample_steps", IntegerIn(1, 1000)));
  OVI_ASSIGN_OR_RETURN(spec.solver, settings.Get("solver_name", WordWith(ParseSolver)));
  OVI_ASSIGN_OR_RETURN(spec.shift, settings.Get("shift", Shift));
  OVI_ASSIGN_OR_RETURN(spec.video_guidance_scale, settings.Get("video_guidance_scale", NumberIn(0.0, 100.0)));
  OVI_ASSIGN_OR_RETURN(spec.audio_guidance_scale, settings.Get("audio_guidance_scale", NumberIn(0.0, 100.0)));
  OVI_ASSIGN_OR_RETURN(spec.slg_layer, settings.Get("slg_layer", IntegerIn(-1, 1000)));
  OVI_ASSIGN_OR_RETURN(spec.seed, settings.Get("seed", YamlUint64));
  OVI_ASSIGN_OR_RETURN(spec.video_negative_prompt, settings.Get("video_negative_prompt", NegativePrompt));
  OVI_ASSIGN_OR_RETURN(spec.audio_negative_prompt, settings.Get("audio_negative_prompt", NegativePrompt));
  OVI_ASSIGN_OR_RETURN(const auto repeats, settings.Get("each_example_n_times", IntegerIn(1, 1000)));
  spec.each_example_n_times = repeats.value_or(1);
  return absl::OkStatus();
}

absl::Status ReadModel(const Settings& settings, JobSpec& spec, std::vector<std::string>& size_warnings) {
  OVI_ASSIGN_OR_RETURN(const auto model_name, settings.Get("model_name", ModelName));
  OVI_ASSIGN_OR_RETURN(const auto ckpt_dir, settings.Get("ckpt_dir", YamlPath));
  OVI_ASSIGN_OR_RETURN(const auto output_dir, settings.Get("output_dir", YamlPath));
  OVI_ASSIGN_OR_RETURN(spec.size, ReadSize(settings));
  OVI_ASSIGN_OR_RETURN(spec.duration_seconds, settings.Get("duration", Duration));
  spec.ckpt_dir = ckpt_dir.value_or("");
  spec.output_dir = output_dir.value_or("");

  absl::StatusOr<ModelChoice> choice = ChooseModel(model_name.value_or(""), spec.size, spec.duration_seconds);
  if (!choice.ok()) return settings.Find("duration")->Error(std::string(choice.status().message()));
  spec.model_name = choice->model_name;
  const Setting* size =
      settings.Find(settings.Find("resolution") != nullptr ? "resolution" : "video_frame_height_width");
  for (const std::string& warning : choice->warnings) {
    size_warnings.push_back(absl::StrCat(size->Place(), ": ", size->key, " ", warning));
  }
  return absl::OkStatus();
}

absl::Status ReadLoras(const Settings& settings, const std::string& base_dir, JobSpec& spec) {
  OVI_ASSIGN_OR_RETURN(const auto enable_lora, settings.Get("enable_lora", YamlBool));
  OVI_ASSIGN_OR_RETURN(auto loras, settings.Get("loras", Loras));
  if (loras) spec.loras = *std::move(loras);
  if (!spec.loras.empty() && enable_lora == false) {
    return settings.Find("enable_lora")
        ->Error(absl::StrCat("is false, which contradicts loras (", settings.Find("loras")->Place(),
                             "); remove one of the two"));
  }
  spec.enable_lora = enable_lora.value_or(!spec.loras.empty());
  for (LoraSpec& lora : spec.loras) {
    if (IsLoraName(lora.path)) continue;
    lora.path = ResolvePath(lora.path, settings.Find("loras")->overridden ? "" : base_dir);
  }
  return absl::OkStatus();
}

absl::Status ReadNumerics(const Settings& settings, JobSpec& spec) {
  OVI_ASSIGN_OR_RETURN(const auto precision, settings.Get("precision", WordWith(ParsePrecision)));
  OVI_ASSIGN_OR_RETURN(const auto layout, settings.Get("noise_layout", WordWith(ParseNoiseLayout)));
  OVI_ASSIGN_OR_RETURN(const auto sm_count, settings.Get("torch_cuda_sm_count", IntegerIn(1, 1024)));
  OVI_ASSIGN_OR_RETURN(const auto threads,
                       settings.Get("torch_cuda_max_threads_per_sm", IntegerIn(256, 4096)));
  spec.precision = precision.value_or(Precision::kAsExecuted);
  spec.noise_layout = layout.value_or(NoiseLayout::kElement);
  if (spec.noise_layout == NoiseLayout::kTorchCuda) {
    if (!sm_count || !threads) {
      return settings.Find("noise_layout")
          ->Error("is torch_cuda, which needs torch_cuda_sm_count and torch_cuda_max_threads_per_sm");
    }
    spec.torch_cuda = TorchCudaDevice{*sm_count, *threads};
  } else if (sm_count || threads) {
    return settings.Find(sm_count ? "torch_cuda_sm_count" : "torch_cuda_max_threads_per_sm")
        ->Error("is only for noise_layout torch_cuda");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobSpec> ParseJob(std::string_view yaml_text, std::string_view source_name,
                                 const std::string& base_dir, const std::vector<Override>& overrides) {
  OVI_ASSIGN_OR_RETURN(const Settings settings, Settings::Read(yaml_text, source_name, overrides));
  JobSpec spec;
  std::vector<std::string> size_warnings;
  OVI_RETURN_IF_ERROR(ReadModel(settings, spec, size_warnings));
  OVI_RETURN_IF_ERROR(ReadSampling(settings, spec));
  OVI_ASSIGN_OR_RETURN(spec.vram_mode, ReadVramMode(settings));
  OVI_ASSIGN_OR_RETURN(const auto max_vram, settings.Get("max_vram", YamlVramBytes));
  spec.max_vram_bytes = max_vram.value_or(0);
  OVI_ASSIGN_OR_RETURN(const GpuRequest gpus, ReadGpuRequest(settings));
  spec.gpu_allocation = gpus.allocation;
  spec.gpu_count = gpus.gpu_count;
  OVI_RETURN_IF_ERROR(ReadLoras(settings, base_dir, spec));
  OVI_RETURN_IF_ERROR(ReadNumerics(settings, spec));

  // Last, since it may read a prompt list: a mistake in the file itself is told first.
  OVI_ASSIGN_OR_RETURN(Prompts prompts, ReadPrompts(settings, base_dir));
  spec.mode = prompts.mode;
  spec.prompts = std::move(prompts.items);
  spec.warnings = std::move(prompts.warnings);
  // In mode i2v the image gives the shape, so what would become of the size asked for is nobody's concern.
  if (spec.mode == Mode::kT2v)
    std::move(size_warnings.begin(), size_warnings.end(), std::back_inserter(spec.warnings));
  for (std::string& warning : settings.IgnoredKeyWarnings()) spec.warnings.push_back(std::move(warning));
  return spec;
}

absl::StatusOr<JobSpec> LoadJob(const std::string& yaml_path, const std::vector<Override>& overrides) {
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(yaml_path, kYamlBytesMax));
  const std::size_t slash = yaml_path.rfind('/');
  const std::string base_dir = slash == std::string::npos ? "" : yaml_path.substr(0, slash + 1);
  return ParseJob(text, yaml_path, base_dir, overrides);
}

}  // namespace ovi
