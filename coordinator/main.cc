// ovi-coordinator: takes jobs, keeps them, and has them carried out.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/yaml.h"
#include "coordinator/server.h"

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int stop_pipe[2] = {-1, -1};

void OnSignal(int /*signal*/) {
  const char byte = 0;
  [[maybe_unused]] const ssize_t written = write(stop_pipe[1], &byte, 1);
}

int Refuse(const std::string& message, int code) {
  std::fprintf(stderr, "ovi-coordinator: %s\n", message.c_str());
  return code;
}

struct Options {
  std::string config;
  std::vector<std::string> sets;
  std::string listen, data_dir, metrics_address;
  bool insecure = false;
  bool log_json = false;
};

absl::StatusOr<ovi::CoordinatorConfig> ReadConfig(const Options& options) {
  std::string text;
  if (!options.config.empty()) {
    OVI_ASSIGN_OR_RETURN(text, ovi::ReadSmallFile(options.config, ovi::kYamlBytesMax));
  }
  std::vector<std::pair<std::string, std::string>> overrides;
  for (const std::string& set : options.sets) {
    const std::size_t equals = set.find('=');
    if (equals == std::string::npos) return absl::InvalidArgumentError("--set needs key=value, got " + set);
    overrides.emplace_back(set.substr(0, equals), set.substr(equals + 1));
  }
  if (!options.listen.empty()) overrides.emplace_back("listen", options.listen);
  if (!options.data_dir.empty()) overrides.emplace_back("data_dir", options.data_dir);
  if (!options.metrics_address.empty()) {
    overrides.emplace_back("metrics_address",
                           options.metrics_address == "off" ? "" : options.metrics_address);
  }
  if (options.insecure) overrides.emplace_back("insecure", "true");
  if (options.log_json) overrides.emplace_back("log_json", "true");
  return ovi::ParseCoordinatorConfig(text, options.config, overrides);
}

int Run(int argc, char** argv) {
  CLI::App app{"Ovi coordinator: takes jobs, keeps them, and has them carried out", "ovi-coordinator"};
  Options options;
  app.set_version_flag("--version", "ovi-coordinator " OVI_VERSION);
  app.add_option("--config", options.config, "YAML with the keys of docs/coordinator.md");
  app.add_option("--set", options.sets, "key=value, overrides the YAML; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--listen", options.listen, "host:port, or unix:path (default 127.0.0.1:7700)");
  app.add_option("--data-dir", options.data_dir, "where jobs and results are kept");
  app.add_option("--metrics", options.metrics_address,
                 "host:port for Prometheus, or off (default 127.0.0.1:7701)");
  app.add_flag("--insecure", options.insecure, "let agents in without a token, and listen beyond loopback");
  app.add_flag("--log-json", options.log_json, "log JSON lines");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return Refuse(std::string(error.what()) + "; see ovi-coordinator --help", kExitUsage);
  }
  const absl::StatusOr<ovi::CoordinatorConfig> config = ReadConfig(options);
  if (!config.ok()) return Refuse(std::string(config.status().message()), kExitUsage);
  const absl::Status logging = ovi::ConfigureLog(config->log);
  if (!logging.ok()) return Refuse(std::string(logging.message()), kExitUsage);

  if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return Refuse("no pipe can be made", kExitFailed);
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  std::signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<std::unique_ptr<ovi::CoordinatorServer>> server = ovi::CoordinatorServer::Start(*config);
  if (!server.ok()) return Refuse(std::string(server.status().message()), kExitUsage);
  std::printf("ovi-coordinator: serves %s (port %d)\n", config->listen.c_str(), (*server)->port());
  std::fflush(stdout);
  const absl::Status ended = (*server)->Wait(stop_pipe[0]);
  if (!ended.ok()) return Refuse(std::string(ended.message()), kExitFailed);
  ovi::Log(ovi::LogLevel::kInfo, "coordinator stops");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    return Refuse(error.what(), kExitFailed);
  }
}
