// What an agent is told: its YAML (configs/cluster/agent.yaml shows and explains every key) and its command
// line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/log.h"
#include "base/yaml.h"
#include "worker/agent/gpu_reader.h"

namespace ovi {

struct AgentConfig {
  std::string name;         // "" = the host's
  std::string coordinator;  // host:port, or unix:path
  std::string node_token_file;
  std::string tls_ca_file;  // who signed the coordinator's certificate; "" = plain connections
  bool insecure = false;    // no TLS to another machine, and no token needed
  std::string state_dir;
  std::string models_dir;   // "" = as DefaultModelsDir() has it
  std::string weights_dir;  // "" = beside each model's configuration
  std::string cache_dir;    // of its groups; "" = $OVI_CACHE_DIR, else below state_dir
  std::optional<std::vector<DeclaredGpu>> declared_gpus;  // nullopt = those NVML finds
  std::string nvml_library;                               // "" = libnvidia-ml.so.1
  std::string mpirun = "mpirun";
  std::string worker;                          // "" = the ovi-worker that belongs to this program
  int threads_per_rank = 0;                    // 0 = the cores shared out among the GPUs
  std::vector<std::string> group_environment;  // "NAME=value"
  bool keep_groups = false;                    // when the agent is told to end
  std::string metrics_address;                 // "" = not served
  std::int64_t report_interval_ms = 0;         // 0 = as the coordinator says
  LogOptions log;
};

// Paths of the file count from `base_dir`, those of --set from the current folder. Checks every field by
// itself and what must come together; looks at no file. INVALID_ARGUMENT "agent.yaml:7: gpus[1].vram must be
// ...".
absl::StatusOr<AgentConfig> ParseAgentConfig(std::string_view yaml_text, std::string_view source_name,
                                             const std::string& base_dir,
                                             const std::vector<std::string>& overrides);

}  // namespace ovi
