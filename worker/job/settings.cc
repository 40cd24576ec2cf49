#include "worker/job/settings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"

namespace ovi {
namespace {

// How the value of --set key=value is read: as it stands, as one YAML scalar without quotes, or as YAML.
enum class Form { kText, kScalar, kYaml };

struct Key {
  std::string_view name;
  Form form;
  std::string_view replaced_by = "";  // a --set of that key takes this one out of the file
  bool ignored = false;
};

constexpr Key kKeys[] = {
    {"model_name", Form::kText},
    {"ckpt_dir", Form::kText},
    {"output_dir", Form::kText},
    {"mode", Form::kText},
    {"text_prompt", Form::kText},
    {"image_path", Form::kText},
    {"each_example_n_times", Form::kScalar},
    {"video_negative_prompt", Form::kText},
    {"audio_negative_prompt", Form::kText},
    {"sample_steps", Form::kScalar},
    {"solver_name", Form::kText},
    {"shift", Form::kScalar},
    {"video_guidance_scale", Form::kScalar},
    {"audio_guidance_scale", Form::kScalar},
    {"slg_layer", Form::kScalar},
    {"seed", Form::kScalar},
    {"resolution", Form::kYaml, "video_frame_height_width"},
    {"video_frame_height_width", Form::kYaml, "resolution"},
    {"duration", Form::kScalar},
    {"vram_mode", Form::kText},
    {"fp8", Form::kScalar, "vram_mode"},
    {"cpu_offload", Form::kScalar, "vram_mode"},
    {"qint8", Form::kScalar, "vram_mode"},
    {"max_vram", Form::kScalar},
    {"gpu_allocation", Form::kText},
    {"sp_size", Form::kScalar, "gpu_allocation"},
    {"use_fsdp", Form::kScalar, "gpu_allocation"},
    {"enable_lora", Form::kScalar},
    {"loras", Form::kYaml},
    {"precision", Form::kText},
    {"noise_layout", Form::kText},
    {"torch_cuda_sm_count", Form::kScalar},
    {"torch_cuda_max_threads_per_sm", Form::kScalar},
    // In the YAML that comes with the low-VRAM guide; what they switch there is always decided by the plan
    // here.
    {"fsdp_sharding_strategy", Form::kText, "", true},
    {"fsdp_cpu_offload", Form::kScalar, "", true},
    {"use_optimized_comms", Form::kScalar, "", true},
    {"enable_async_comms", Form::kScalar, "", true},
    {"use_tensor_cores", Form::kScalar, "", true},
};

const Key* FindKey(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kKeys), std::end(kKeys), [name](const Key& key) { return key.name == name; });
  return found == std::end(kKeys) ? nullptr : &*found;
}

std::string UnknownKey(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Key& key : kKeys) names.push_back(key.name);
  const std::string nearest = NearestName(name, names);
  return absl::StrCat(
      "unknown key ", Quoted(name),
      nearest.empty() ? " (docs/job-config.md lists all)" : "; did you mean \"" + nearest + "\"?");
}

absl::StatusOr<Setting> ReadOverride(const Override& override_, const Key& key) {
  Setting setting;
  setting.key = override_.key;
  setting.source = absl::StrCat("--set ", override_.key);
  setting.overridden = true;
  if (key.form == Form::kYaml) {
    OVI_ASSIGN_OR_RETURN(setting.value, ParseYaml(override_.value, setting.source));
  } else if (key.form == Form::kText || !override_.value.empty()) {
    setting.value.kind = YamlNode::Kind::kScalar;
    setting.value.plain = key.form == Form::kScalar;
    setting.value.scalar = override_.value;
  }
  return setting;
}

}  // namespace

std::string Setting::Place() const {
  return overridden ? source : absl::StrCat(source, ":", value.line);
}

absl::Status Setting::Error(const std::string& reason) const {
  return absl::InvalidArgumentError(
      absl::StrCat(Place(), overridden ? ": " : absl::StrCat(": ", key, " "), reason));
}

absl::StatusOr<Settings> Settings::Read(std::string_view yaml_text, std::string_view source_name,
                                        const std::vector<Override>& overrides) {
  Settings result;
  result.source_name_ = std::string(source_name);
  OVI_ASSIGN_OR_RETURN(YamlNode root, ParseYaml(yaml_text, source_name));
  if (root.kind != YamlNode::Kind::kMap && root.kind != YamlNode::Kind::kNull) {
    return absl::InvalidArgumentError(
        absl::StrCat(result.source_name_, ":", root.line, ": a job is a list of \"key: value\" lines"));
  }
  for (YamlEntry& entry : root.entries) {
    if (FindKey(entry.key) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(result.source_name_, ":", entry.line, ": ", UnknownKey(entry.key)));
    }
    result.settings_.push_back({std::move(entry.key), std::move(entry.value), result.source_name_});
  }
  for (const Override& override_ : overrides) {
    const Key* key = FindKey(override_.key);
    if (key == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("--set: ", UnknownKey(override_.key)));
    }
    OVI_ASSIGN_OR_RETURN(Setting setting, ReadOverride(override_, *key));
    std::erase_if(result.settings_, [key](const Setting& other) {
      return other.key == key->name || (!other.overridden && FindKey(other.key)->replaced_by == key->name);
    });
    result.settings_.push_back(std::move(setting));
  }
  return result;
}

const Setting* Settings::Find(std::string_view key) const {
  for (const Setting& setting : settings_) {
    if (setting.key == key) return setting.value.kind == YamlNode::Kind::kNull ? nullptr : &setting;
  }
  return nullptr;
}

std::vector<std::string> Settings::IgnoredKeyWarnings() const {
  std::vector<std::string> warnings;
  for (const Setting& setting : settings_) {
    if (!FindKey(setting.key)->ignored) continue;
    warnings.push_back(
        absl::StrCat(setting.Place(), ": ", setting.key, " is ignored: the plan decides this here"));
  }
  return warnings;
}

}  // namespace ovi
