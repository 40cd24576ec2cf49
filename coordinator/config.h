// What an operator may set about the coordinator: a YAML file, flags on top. docs/coordinator.md lists the
// keys.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/log.h"
#include "coordinator/core/types.h"

namespace ovi {

struct CoordinatorConfig {
  std::string listen = "127.0.0.1:7700";
  std::string data_dir;                            // journal, artifacts, secrets; required
  std::string metrics_address = "127.0.0.1:7701";  // "" = off
  bool insecure = false;  // plain connections: agents without a token, and addresses other than loopback
  std::int64_t report_interval_ms = 2'000;
  core::Policy policy;
  LogOptions log;
};

// `yaml_text` may be "". `overrides`: key=value pairs of --set, and of flags. INVALID_ARGUMENT with the place
// and the key, or for settings that do not go together (an open address without `insecure`).
absl::StatusOr<CoordinatorConfig> ParseCoordinatorConfig(
    std::string_view yaml_text, std::string_view source_name,
    const std::vector<std::pair<std::string, std::string>>& overrides);

}  // namespace ovi
