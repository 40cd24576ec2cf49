// A job's keys and values before they mean anything: the YAML's, with --set overrides on top, each with its
// place for messages. Refuses unknown keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/yaml.h"

namespace ovi {

// One --set key=value of a command line.
struct Override {
  std::string key;
  std::string value;
};

struct Setting {
  std::string key;
  YamlNode value;
  std::string source;       // "job.yaml", or "--set seed"
  bool overridden = false;  // from --set: no line, and relative paths count from the current folder

  // "job.yaml:7", or "--set seed".
  std::string Place() const;
  // INVALID_ARGUMENT "job.yaml:7: seed <reason>", or "--set seed: <reason>".
  absl::Status Error(const std::string& reason) const;
};

class Settings {
 public:
  // Errors: the YAML's, a root that is no map, unknown keys (with the nearest known one) in the file and in
  // --set. Of two --set of one key the last counts; an empty one unsets a number or flag. A --set of
  // vram_mode, gpu_allocation or the size also takes the file's older spellings of it (fp8, sp_size, ...)
  // out, which would contradict it otherwise.
  static absl::StatusOr<Settings> Read(std::string_view yaml_text, std::string_view source_name,
                                       const std::vector<Override>& overrides);

  // Null where the key is absent or its value is left empty. Points into this object.
  const Setting* Find(std::string_view key) const;

  // convert(value) of the key, nullopt where Find() is null; an error of `convert` gets place and key.
  template <typename Convert>
  auto Get(std::string_view key, Convert convert) const
      -> absl::StatusOr<std::optional<typename decltype(convert(YamlNode()))::value_type>> {
    std::optional<typename decltype(convert(YamlNode()))::value_type> result;
    if (const Setting* setting = Find(key)) {
      auto value = convert(setting->value);
      if (!value.ok()) return setting->Error(std::string(value.status().message()));
      result = *std::move(value);
    }
    return result;
  }

  const std::string& source_name() const { return source_name_; }
  // Keys that were given and are known to other programs, but decide nothing here.
  std::vector<std::string> IgnoredKeyWarnings() const;

 private:
  std::string source_name_;
  std::vector<Setting> settings_;
};

}  // namespace ovi
