// The keys and values of a configuration before they mean anything: a YAML file of nested maps, with --set
// key=value overrides on top, each with its place for messages. Keys are paths: "groups.mpirun" is `mpirun`
// in the map `groups`. Refuses unknown keys.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/yaml.h"

namespace ovi {

struct ConfigValue {
  std::string key;
  YamlNode value;
  std::string place;  // "agent.yaml:7", or "--set groups.mpirun"
};

class ConfigTree {
 public:
  // `known`: all keys. `overrides`: "key=value" each; of two for one key the last counts, and an empty value
  // unsets. INVALID_ARGUMENT: the YAML's errors, a key that is unknown (with the nearest known one), a
  // section that is no map.
  static absl::StatusOr<ConfigTree> Read(std::string_view yaml_text, std::string_view source_name,
                                         std::span<const std::string> overrides,
                                         std::span<const std::string_view> known);

  // Null where the key is absent or its value is left empty. Points into this object.
  const ConfigValue* Find(std::string_view key) const;

  // INVALID_ARGUMENT "agent.yaml:7: groups.mpirun <reason>".
  static absl::Status Error(const ConfigValue& at, std::string_view reason);

  // convert(value) of the key into `out`, which stays as it is where the key is absent. An error of `convert`
  // gets place and key.
  template <typename Value, typename Convert>
  absl::Status Get(std::string_view key, Value& out, const Convert& convert) const {
    const ConfigValue* found = Find(key);
    if (found == nullptr) return absl::OkStatus();
    auto value = convert(found->value);
    if (!value.ok()) {
      const auto message = value.status().message();
      return Error(*found, std::string_view(message.data(), message.size()));
    }
    out = *std::move(value);
    return absl::OkStatus();
  }

 private:
  absl::Status Add(const YamlNode& map, const std::string& prefix, std::string_view source_name,
                   std::span<const std::string_view> known);

  std::vector<ConfigValue> values_;
};

}  // namespace ovi
