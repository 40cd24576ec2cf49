#include "worker/agent/config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml_value.h"
#include "worker/agent/config_tree.h"
#include "worker/job/vram_bytes.h"

namespace ovi {
namespace {

constexpr std::int64_t kTextBytesMax = 4096;
constexpr std::size_t kNodeNameBytesMax = 64;
constexpr std::size_t kGpusMax = 64;
constexpr std::int64_t kGpuShareMax = 1000;

constexpr std::string_view kKeys[] = {
    "name",
    "coordinator",
    "node_token_file",
    "tls_ca_file",
    "insecure",
    "state_dir",
    "models_dir",
    "weights_dir",
    "cache_dir",
    "gpus",
    "nvml_library",
    "groups.mpirun",
    "groups.worker",
    "groups.threads_per_rank",
    "groups.environment",
    "groups.keep",
    "metrics_address",
    "report_interval_ms",
    "log.level",
    "log.json",
    "log.file",
};

absl::Status Wrong(std::string_view wanted, const YamlNode& got) {
  return absl::InvalidArgumentError(absl::StrCat("must be ", std::string(wanted), ", got ", Describe(got)));
}

absl::StatusOr<std::string> Text(const YamlNode& node) {
  return YamlText(node, kTextBytesMax);
}

auto IntegerIn(std::int64_t min, std::int64_t max) {
  return [min, max](const YamlNode& node) { return YamlInteger(node, min, max); };
}

absl::StatusOr<std::string> NodeName(const YamlNode& node) {
  OVI_ASSIGN_OR_RETURN(std::string name, Text(node));
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!plain || name.empty() || name.size() > kNodeNameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be 1 to ", kNodeNameBytesMax, " letters, digits, - _ . and is ", Quoted(name)));
  }
  return name;
}

// host:port, [v6]:port or unix:path.
absl::StatusOr<std::string> Address(const YamlNode& node) {
  OVI_ASSIGN_OR_RETURN(std::string address, Text(node));
  if (address.starts_with("unix:") && address.size() > 5) return address;
  const std::size_t colon = address.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0) {
    const char* end = address.data() + address.size();
    const auto parsed = std::from_chars(address.data() + colon + 1, end, port);
    if (parsed.ec != std::errc() || parsed.ptr != end) port = 0;
  }
  if (port < 1 || port > 65535)
    return absl::InvalidArgumentError(
        absl::StrCat("must be host:port, such as head:7000, got ", Quoted(address)));
  return address;
}

absl::StatusOr<std::string> AddressOrNone(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar && (node.scalar.empty() || node.scalar == "off"))
    return std::string();
  return Address(node);
}

bool IsOnThisMachine(std::string_view address) {
  const std::string_view host = address.substr(0, address.rfind(':'));
  return address.starts_with("unix:") || host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

absl::StatusOr<DeclaredGpu> Gpu(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kMap) return Wrong("a GPU with name, vram and share", node);
  DeclaredGpu gpu;
  for (const YamlEntry& entry : node.entries) {
    absl::Status status;
    if (entry.key == "name") {
      absl::StatusOr<std::string> name = Text(entry.value);
      status = name.status();
      if (name.ok()) gpu.name = *std::move(name);
    } else if (entry.key == "vram") {
      const absl::StatusOr<std::int64_t> bytes = YamlVramBytes(entry.value);
      status = bytes.status();
      if (bytes.ok()) gpu.bytes = *bytes;
    } else if (entry.key == "share") {
      const absl::StatusOr<std::int64_t> share = YamlInteger(entry.value, 1, kGpuShareMax);
      status = share.status();
      if (share.ok()) gpu.share = static_cast<int>(*share);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("has the unknown key ", Quoted(entry.key), "; a GPU has name, vram and share"));
    }
    if (!status.ok())
      return absl::InvalidArgumentError(absl::StrCat(".", entry.key, " ", std::string(status.message())));
  }
  if (gpu.bytes == 0) return absl::InvalidArgumentError("needs vram");
  if (gpu.name.empty()) gpu.name = "declared";
  return gpu;
}

absl::StatusOr<std::optional<std::vector<DeclaredGpu>>> Gpus(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kScalar && node.scalar == "auto") return std::nullopt;
  if (node.kind != YamlNode::Kind::kSequence) return Wrong("auto or a list of {name, vram, share}", node);
  if (node.items.size() > kGpusMax) return Wrong(absl::StrCat("at most ", kGpusMax, " GPUs"), node);
  std::vector<DeclaredGpu> gpus;
  for (const YamlNode& item : node.items) {
    absl::StatusOr<DeclaredGpu> gpu = Gpu(item);
    if (!gpu.ok()) {
      const std::string message(gpu.status().message());
      return absl::InvalidArgumentError(
          absl::StrCat("[", gpus.size(), "]", message.starts_with('.') ? "" : " ", message));
    }
    gpus.push_back(*std::move(gpu));
  }
  return gpus;
}

absl::StatusOr<std::vector<std::string>> Environment(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kMap) return Wrong("a map of NAME: value", node);
  std::vector<std::string> variables;
  for (const YamlEntry& entry : node.entries) {
    if (entry.key.empty() || entry.key.find('=') != std::string::npos)
      return Wrong("a map of NAME: value", node);
    if (entry.value.kind != YamlNode::Kind::kScalar || entry.value.scalar.find('\0') != std::string::npos)
      return absl::InvalidArgumentError(
          absl::StrCat("[", Quoted(entry.key), "] must be text, got ", Describe(entry.value)));
    variables.push_back(absl::StrCat(entry.key, "=", entry.value.scalar));
  }
  return variables;
}

absl::StatusOr<LogLevel> Level(const YamlNode& node) {
  constexpr std::pair<std::string_view, LogLevel> kLevels[] = {{"debug", LogLevel::kDebug},
                                                               {"info", LogLevel::kInfo},
                                                               {"warning", LogLevel::kWarning},
                                                               {"error", LogLevel::kError}};
  for (const auto& [word, level] : kLevels) {
    if (node.kind == YamlNode::Kind::kScalar && node.scalar == word) return level;
  }
  return Wrong("debug, info, warning or error", node);
}

// Relative paths of the file count from where it is, so that it means the same from everywhere.
auto PathFrom(const std::string& base_dir) {
  return [base_dir](const YamlNode& node) {
    absl::StatusOr<std::string> path = Text(node);
    const bool from_file = node.line != 0;  // not of --set
    if (path.ok() && !path->empty() && path->front() != '/' && from_file)
      path = (std::filesystem::path(base_dir) / *path).lexically_normal().string();
    return path;
  };
}

absl::Status CheckTogether(const AgentConfig& config, const ConfigTree& tree, std::string_view source_name) {
  const auto missing = [&](const char* key, const char* reason) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(source_name), ": ", key, " is missing: ", reason));
  };
  if (config.coordinator.empty()) return missing("coordinator", "host:port of the coordinator");
  if (config.state_dir.empty())
    return missing("state_dir", "a folder where the agent keeps what it must not forget");
  if (!config.insecure && config.node_token_file.empty())
    return missing("node_token_file",
                   "the node token's file, mode 0600 (or insecure: true on a trusted network)");
  if (!config.insecure && config.tls_ca_file.empty() && !IsOnThisMachine(config.coordinator))
    return ConfigTree::Error(
        *tree.Find("coordinator"),
        "is on another machine, so tls_ca_file is needed (or insecure: true on a trusted network)");
  if (config.insecure && !config.tls_ca_file.empty())
    return ConfigTree::Error(*tree.Find("tls_ca_file"), "contradicts insecure: true; remove one of the two");
  if (config.declared_gpus && !config.nvml_library.empty())
    return ConfigTree::Error(*tree.Find("nvml_library"), "is only for gpus: auto");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AgentConfig> ParseAgentConfig(std::string_view yaml_text, std::string_view source_name,
                                             const std::string& base_dir,
                                             const std::vector<std::string>& overrides) {
  OVI_ASSIGN_OR_RETURN(const ConfigTree tree, ConfigTree::Read(yaml_text, source_name, overrides, kKeys));
  AgentConfig config;
  const auto path = PathFrom(base_dir);
  OVI_RETURN_IF_ERROR(tree.Get("name", config.name, NodeName));
  OVI_RETURN_IF_ERROR(tree.Get("coordinator", config.coordinator, Address));
  OVI_RETURN_IF_ERROR(tree.Get("node_token_file", config.node_token_file, path));
  OVI_RETURN_IF_ERROR(tree.Get("tls_ca_file", config.tls_ca_file, path));
  OVI_RETURN_IF_ERROR(tree.Get("insecure", config.insecure, YamlBool));
  OVI_RETURN_IF_ERROR(tree.Get("state_dir", config.state_dir, path));
  OVI_RETURN_IF_ERROR(tree.Get("models_dir", config.models_dir, path));
  OVI_RETURN_IF_ERROR(tree.Get("weights_dir", config.weights_dir, path));
  OVI_RETURN_IF_ERROR(tree.Get("cache_dir", config.cache_dir, path));
  OVI_RETURN_IF_ERROR(tree.Get("gpus", config.declared_gpus, Gpus));
  OVI_RETURN_IF_ERROR(tree.Get("nvml_library", config.nvml_library, path));
  OVI_RETURN_IF_ERROR(tree.Get("groups.mpirun", config.mpirun, Text));
  OVI_RETURN_IF_ERROR(tree.Get("groups.worker", config.worker, path));
  OVI_RETURN_IF_ERROR(tree.Get("groups.threads_per_rank", config.threads_per_rank, IntegerIn(0, 1024)));
  OVI_RETURN_IF_ERROR(tree.Get("groups.environment", config.group_environment, Environment));
  OVI_RETURN_IF_ERROR(tree.Get("groups.keep", config.keep_groups, YamlBool));
  OVI_RETURN_IF_ERROR(tree.Get("metrics_address", config.metrics_address, AddressOrNone));
  OVI_RETURN_IF_ERROR(tree.Get("report_interval_ms", config.report_interval_ms, IntegerIn(0, 600'000)));
  OVI_RETURN_IF_ERROR(tree.Get("log.level", config.log.level, Level));
  OVI_RETURN_IF_ERROR(tree.Get("log.json", config.log.json, YamlBool));
  OVI_RETURN_IF_ERROR(tree.Get("log.file", config.log.file, path));
  config.log.to_stderr = config.log.file.empty();
  OVI_RETURN_IF_ERROR(CheckTogether(config, tree, source_name));
  return config;
}

}  // namespace ovi
