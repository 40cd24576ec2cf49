// ovi-agent: makes this node part of a cluster.
#include <google/protobuf/util/json_util.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "worker/agent/agent.h"
#include "worker/agent/config.h"
#include "worker/agent/keeper.h"

namespace ovi {
namespace {

// Exit codes: 0 told to end, 1 failed, 2 wrong usage or configuration, or refused by the coordinator.
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr std::int64_t kConfigBytesMax = 1 << 20;

void PrintProblem(std::string_view message) {
  std::fprintf(stderr, "ovi-agent: %s\n", Escaped(message).c_str());
}

struct Options {
  std::string config_file;
  std::vector<std::string> settings;  // key=value
  bool print_hello = false;
};

absl::StatusOr<AgentConfig> ReadConfig(const Options& options) {
  if (options.config_file.empty()) return ParseAgentConfig("", "command line", "", options.settings);
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(options.config_file, kConfigBytesMax));
  const std::string base_dir = std::filesystem::path(options.config_file).parent_path();
  return ParseAgentConfig(text, options.config_file, base_dir, options.settings);
}

// Options that stand for a setting come before --set, whatever their order.
void AddSettingOption(CLI::App& app, const std::string& flag, const std::string& key, const std::string& help,
                      std::vector<std::string>& settings) {
  app.add_option_function<std::string>(
      flag, [key, &settings](const std::string& value) { settings.push_back(key + "=" + value); }, help);
}
void AddSettingFlag(CLI::App& app, const std::string& flag, const std::string& key, const std::string& help,
                    std::vector<std::string>& settings) {
  app.add_flag_callback(
      flag, [key, &settings] { settings.push_back(key + "=true"); }, help);
}

int Fail(const absl::Status& status, int exit_code) {
  PrintProblem({status.message().data(), status.message().size()});
  return exit_code;
}

absl::Status PrintHello(Agent& agent) {
  std::string json;
  google::protobuf::util::JsonPrintOptions pretty;
  pretty.add_whitespace = true;
  pretty.preserve_proto_field_names = true;
  const auto status = google::protobuf::util::MessageToJsonString(agent.Hello(), &json, pretty);
  if (!status.ok()) return absl::InternalError(status.ToString());
  std::fputs(json.c_str(), stdout);
  return absl::OkStatus();
}

int RunAgent(const Options& options) {
  absl::StatusOr<AgentConfig> config = ReadConfig(options);
  if (!config.ok()) return Fail(config.status(), kExitUsage);
  if (const absl::Status status = ConfigureLog(config->log); !status.ok()) return Fail(status, kExitUsage);
  const absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::Create(*std::move(config));
  if (!agent.ok()) return Fail(agent.status(), kExitFailed);
  if (options.print_hello) {
    const absl::Status printed = PrintHello(**agent);
    return printed.ok() ? 0 : Fail(printed, kExitFailed);
  }
  const absl::StatusOr<int> exit_code = (*agent)->Run();
  return exit_code.ok() ? *exit_code : Fail(exit_code.status(), kExitFailed);
}

int Main(int argc, char** argv) {
  CLI::App app{"Ovi agent: offers this node's GPUs to a coordinator and runs worker groups on them",
               "ovi-agent"};
  app.set_version_flag("--version", "ovi-agent " OVI_VERSION);
  Options options;
  std::vector<std::string> sets;
  app.add_option("--config", options.config_file, "YAML; configs/cluster/agent.yaml explains every key");
  app.add_option("--set", sets,
                 "key=value, overrides the YAML; may be repeated (groups.mpirun=/opt/mpi/bin/mpirun)")
      ->allow_extra_args(false);
  AddSettingOption(app, "--coordinator", "coordinator", "host:port of the coordinator", options.settings);
  AddSettingOption(app, "--name", "name", "this node's name (default: the host's)", options.settings);
  AddSettingOption(app, "--state-dir", "state_dir", "folder for what must not be forgotten",
                   options.settings);
  AddSettingOption(app, "--models-dir", "models_dir", "folder of models", options.settings);
  AddSettingOption(app, "--weights-dir", "weights_dir", "folder of downloaded weights", options.settings);
  AddSettingOption(app, "--node-token-file", "node_token_file", "file with the node token, mode 0600",
                   options.settings);
  AddSettingOption(app, "--metrics-address", "metrics_address", "where to serve Prometheus metrics",
                   options.settings);
  AddSettingFlag(app, "--insecure", "insecure", "no TLS: for loopback and trusted networks",
                 options.settings);
  AddSettingFlag(app, "--keep-groups", "groups.keep", "when told to end, leave the groups to the next start",
                 options.settings);
  app.add_flag("--print-hello", options.print_hello,
               "print what a coordinator would be told, as JSON, and end");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    PrintProblem(std::string(error.what()) + "; see ovi-agent --help");
    return kExitUsage;
  }
  options.settings.insert(options.settings.end(), sets.begin(), sets.end());
  return RunAgent(options);
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  // Not for users: how the agent starts a group's keeper. It ends at once: the agent may still kill all that
  // it sees below the keeper, and the process with which a sanitizer looks for leaks at exit would be killed
  // and waited for in vain.
  if (argc >= 4 && std::string_view(argv[1]) == "keep-group")
    std::_Exit(ovi::KeepGroup(argv[2], std::vector<std::string>(argv + 3, argv + argc)));
  // Before there are threads, so that none of them takes a signal that the agent waits for.
  const sigset_t signals = ovi::AgentSignals();
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  try {
    return ovi::Main(argc, argv);
  } catch (const std::exception& error) {  // out of memory, above all
    ovi::PrintProblem(error.what());
    return ovi::kExitFailed;
  }
}
