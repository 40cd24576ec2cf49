#include "coordinator/config.h"

#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml.h"
#include "base/yaml_value.h"

namespace ovi {
namespace {

constexpr std::int64_t kMsMax = std::int64_t{30} * 24 * 3600 * 1000;
constexpr std::int64_t kTextBytesMax = 4096;

using Setter = std::function<absl::Status(const YamlNode&)>;

Setter Text(std::string& target) {
  return [&target](const YamlNode& node) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(target, YamlText(node, kTextBytesMax));
    return absl::OkStatus();
  };
}

Setter Flag(bool& target) {
  return [&target](const YamlNode& node) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(target, YamlBool(node));
    return absl::OkStatus();
  };
}

template <typename Number>
Setter Whole(Number& target, std::int64_t min, std::int64_t max) {
  return [&target, min, max](const YamlNode& node) -> absl::Status {
    OVI_ASSIGN_OR_RETURN(const std::int64_t number, YamlInteger(node, min, max));
    target = static_cast<Number>(number);
    return absl::OkStatus();
  };
}

Setter Level(LogLevel& target) {
  return [&target](const YamlNode& node) -> absl::Status {
    static const std::map<std::string, LogLevel> words = {{"debug", LogLevel::kDebug},
                                                          {"info", LogLevel::kInfo},
                                                          {"warning", LogLevel::kWarning},
                                                          {"error", LogLevel::kError}};
    OVI_ASSIGN_OR_RETURN(const std::string word, YamlText(node, kTextBytesMax));
    const auto found = words.find(word);
    if (found == words.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("must be debug, info, warning or error, got ", Quoted(word)));
    }
    target = found->second;
    return absl::OkStatus();
  };
}

std::map<std::string, Setter> Setters(CoordinatorConfig& config) {
  core::Policy& policy = config.policy;
  return {
      {"listen", Text(config.listen)},
      {"data_dir", Text(config.data_dir)},
      {"metrics_address", Text(config.metrics_address)},
      {"insecure", Flag(config.insecure)},
      {"report_interval_ms", Whole(config.report_interval_ms, 100, 60'000)},
      {"attempts_max", Whole(policy.attempts_max, 1, 100)},
      {"node_silence_ms_max", Whole(policy.node_silence_ms_max, 500, kMsMax)},
      {"reconnect_ms_max", Whole(policy.reconnect_ms_max, 500, kMsMax)},
      {"launch_ms_max", Whole(policy.launch_ms_max, 500, kMsMax)},
      {"stall_ms_max", Whole(policy.stall_ms_max, 500, kMsMax)},
      {"cancel_ms_max", Whole(policy.cancel_ms_max, 100, kMsMax)},
      {"stop_ms_max", Whole(policy.stop_ms_max, 100, kMsMax)},
      {"group_idle_ms_max", Whole(policy.group_idle_ms_max, 0, kMsMax)},
      {"job_kept_ms_max", Whole(policy.job_kept_ms_max, 1'000, 12 * kMsMax)},
      {"groups_per_gpu_max", Whole(policy.groups_per_gpu_max, 1, 64)},
      {"pending_jobs_max", Whole(policy.pending_jobs_max, 1, 10'000'000)},
      {"log_level", Level(config.log.level)},
      {"log_json", Flag(config.log.json)},
      {"log_file", Text(config.log.file)},
  };
}

absl::Status UnknownKey(const std::map<std::string, Setter>& setters, const std::string& place,
                        const std::string& key) {
  std::vector<std::string_view> names;
  for (const auto& [name, setter] : setters) names.push_back(name);
  const std::string nearest = NearestName(key, names);
  return absl::InvalidArgumentError(absl::StrCat(
      place, ": unknown key ", Quoted(key), nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?"));
}

bool IsLoopback(std::string_view listen) {
  return listen.starts_with("127.") || listen.starts_with("localhost:") || listen.starts_with("[::1]:") ||
         listen.starts_with("unix:");
}

absl::Status CheckTogether(const CoordinatorConfig& config) {
  if (config.data_dir.empty())
    return absl::InvalidArgumentError("data_dir is needed: where jobs and results are kept");
  if (!config.insecure && !IsLoopback(config.listen)) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen ", config.listen,
                     " is open to other machines, and connections are not encrypted yet; use a loopback "
                     "address behind a tunnel, or say insecure: true on a network you trust"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CoordinatorConfig> ParseCoordinatorConfig(
    std::string_view yaml_text, std::string_view source_name,
    const std::vector<std::pair<std::string, std::string>>& overrides) {
  CoordinatorConfig config;
  const std::map<std::string, Setter> setters = Setters(config);
  const auto set = [&setters](const std::string& place, const std::string& key,
                              const YamlNode& value) -> absl::Status {
    const auto setter = setters.find(key);
    if (setter == setters.end()) return UnknownKey(setters, place, key);
    return Annotate(setter->second(value), absl::StrCat(place, ": ", key));
  };
  OVI_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(yaml_text, source_name));
  if (root.kind != YamlNode::Kind::kMap && root.kind != YamlNode::Kind::kNull) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(source_name), ": must be a list of \"key: value\" lines"));
  }
  for (const YamlEntry& entry : root.entries) {
    OVI_RETURN_IF_ERROR(set(absl::StrCat(std::string(source_name), ":", entry.line), entry.key, entry.value));
  }
  for (const auto& [key, value] : overrides) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.plain = true;
    node.scalar = value;
    absl::Status done = set("--set", key, node);
    if (!done.ok()) {  // text needs no quotes on a command line
      node.plain = false;
      if (set("--set", key, node).ok()) done = absl::OkStatus();
    }
    OVI_RETURN_IF_ERROR(done);
  }
  OVI_RETURN_IF_ERROR(CheckTogether(config));
  return config;
}

}  // namespace ovi
