#include "worker/agent/config_tree.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml_value.h"

namespace ovi {
namespace {

bool Contains(std::span<const std::string_view> known, std::string_view key) {
  return std::find(known.begin(), known.end(), key) != known.end();
}

bool IsSection(std::span<const std::string_view> known, const std::string& key) {
  const std::string prefix = key + ".";
  return std::any_of(known.begin(), known.end(),
                     [&](std::string_view name) { return name.starts_with(prefix); });
}

absl::Status UnknownKey(const std::string& place, const std::string& key,
                        std::span<const std::string_view> known) {
  const std::string nearest = NearestName(key, known);
  return absl::InvalidArgumentError(absl::StrCat(
      place, ": unknown key ", Quoted(key),
      nearest.empty() ? " (configs/cluster/agent.yaml shows all)" : "; did you mean \"" + nearest + "\"?"));
}

}  // namespace

absl::StatusOr<ConfigTree> ConfigTree::Read(std::string_view yaml_text, std::string_view source_name,
                                            std::span<const std::string> overrides,
                                            std::span<const std::string_view> known) {
  ConfigTree tree;
  OVI_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(yaml_text, source_name));
  if (root.kind != YamlNode::Kind::kMap && root.kind != YamlNode::Kind::kNull) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(source_name), ":", root.line,
                                                   ": a configuration is a list of \"key: value\" lines"));
  }
  OVI_RETURN_IF_ERROR(tree.Add(root, "", source_name, known));
  for (const std::string& override_text : overrides) {
    const std::size_t equals = override_text.find('=');
    const std::string key = override_text.substr(0, equals);
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("--set ", Quoted(override_text), ": must be key=value"));
    }
    if (!Contains(known, key)) return UnknownKey("--set", key, known);
    ConfigValue value{.key = key, .place = absl::StrCat("--set ", key)};
    const std::string text = override_text.substr(equals + 1);
    if (text.starts_with('[') || text.starts_with('{')) {
      OVI_ASSIGN_OR_RETURN(value.value, ParseYaml(text, value.place));
    } else if (!text.empty()) {
      value.value = {.kind = YamlNode::Kind::kScalar, .plain = true, .scalar = text};
    }
    std::erase_if(tree.values_, [&](const ConfigValue& other) { return other.key == key; });
    tree.values_.push_back(std::move(value));
  }
  return tree;
}

absl::Status ConfigTree::Add(const YamlNode& map, const std::string& prefix, std::string_view source_name,
                             std::span<const std::string_view> known) {
  for (const YamlEntry& entry : map.entries) {
    const std::string key = prefix + entry.key;
    ConfigValue value{.key = key, .place = absl::StrCat(std::string(source_name), ":", entry.line)};
    if (Contains(known, key)) {
      value.value = entry.value;
      values_.push_back(std::move(value));
    } else if (!IsSection(known, key)) {
      return UnknownKey(value.place, key, known);
    } else if (entry.value.kind == YamlNode::Kind::kMap) {
      OVI_RETURN_IF_ERROR(Add(entry.value, key + ".", source_name, known));
    } else if (entry.value.kind != YamlNode::Kind::kNull) {
      return Error(value, absl::StrCat("must be a map of keys, got ", Describe(entry.value)));
    }
  }
  return absl::OkStatus();
}

const ConfigValue* ConfigTree::Find(std::string_view key) const {
  for (const ConfigValue& value : values_) {
    if (value.key == key) return value.value.kind == YamlNode::Kind::kNull ? nullptr : &value;
  }
  return nullptr;
}

absl::Status ConfigTree::Error(const ConfigValue& at, std::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat(at.place, ": ", at.key, " ", std::string(reason)));
}

}  // namespace ovi
