// ovictl: what users and operators of an Ovi cluster type.
#include <grpc/grpc.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "client/ovictl/commands.h"
#include "client/ovictl/exit_code.h"
#include "client/ovictl/interrupt.h"

namespace {

using ovi::client::ExitCode;

void AddAllCommands(ovi::client::Commands& commands) {
  ovi::client::AddSubmitCommand(commands);
  ovi::client::AddPlanCommand(commands);
  ovi::client::AddJobCommands(commands);
  ovi::client::AddWatchCommands(commands);
  ovi::client::AddFetchCommand(commands);
  ovi::client::AddNodeCommands(commands);
  ovi::client::AddDoctorCommand(commands);
  ovi::client::AddCompletionCommand(commands);
}

void AddGlobalOptions(CLI::App& app, ovi::client::GlobalOptions& options) {
  app.add_option("--coordinator", options.settings.coordinator,
                 "host:port (OVI_COORDINATOR; default 127.0.0.1:7700)");
  app.add_option("--token-file", options.settings.token_file, "file with the token to show (OVI_TOKEN_FILE)");
  app.add_option("--timeout", options.timeout_seconds, "seconds that a call may take (default 10)")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_flag("--json", options.json, "one JSON object a line");
}

// What CLI11 says, except that it calls a misspelt command a missing one; and where to look.
int UsageError(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> words = app.remaining();
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const std::string what =
      chosen.empty() && !words.empty() ? "unknown command \"" + words.front() + "\"" : error.what();
  const std::string command = chosen.empty() ? "" : chosen.front()->get_name() + " ";
  return ovi::client::ReportError(absl::InvalidArgumentError(what + "; see ovictl " + command + "--help"),
                                  false);
}

int Run(int argc, char** argv) {
  CLI::App app{"ovictl: jobs and nodes of an Ovi cluster", "ovictl"};
  app.set_version_flag("--version", "ovictl " OVI_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // `ovictl list --json` as well as `ovictl --json list`
  ovi::client::GlobalOptions options;
  AddGlobalOptions(app, options);
  ovi::client::Commands commands(app, options);
  AddAllCommands(commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return UsageError(app, error);
  }
  ovi::client::Interrupt interrupt;
  // Never given back: after a large transfer gRPC's shutdown (1.51) may wait ten seconds for a poller of its
  // own.
  grpc_init();
  const absl::StatusOr<int> exit_code = commands.Run(interrupt);
  int code = exit_code.ok() ? *exit_code : ovi::client::ReportError(exit_code.status(), options.json);
  // A full disk must not look like an empty answer.
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && code == ExitCode::kExitDone) {
    code = ovi::client::ReportError(absl::UnavailableError("cannot write to stdout"), false);
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, above all
    std::fprintf(stderr, "ovictl: %s\n", error.what());
    return ExitCode::kExitFailed;
  }
}
