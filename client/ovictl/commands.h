// The commands of ovictl, one source file a group. Each is declared to CLI11 with what to do when it is
// chosen.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "client/ovictl/session.h"

namespace CLI {
class App;
}

namespace ovi::client {

// Returns the exit code; an error is printed, and becomes the exit code, by main.
using Action = std::function<absl::StatusOr<int>(Session&)>;

class Commands {
 public:
  Commands(CLI::App& app, GlobalOptions& options) : app_(app), options_(options) {}

  CLI::App& app() { return app_; }
  GlobalOptions& options() { return options_; }

  // A new command. `action` owns the variables that the options are stored in (by shared_ptr).
  CLI::App* Add(const std::string& name, const std::string& description, Action action);
  // One that needs no settings and no coordinator.
  CLI::App* AddOffline(const std::string& name, const std::string& description, std::function<int()> action);

  // Runs the one that was chosen.
  absl::StatusOr<int> Run(Interrupt& interrupt) const;

 private:
  CLI::App& app_;
  GlobalOptions& options_;
  std::map<const CLI::App*, Action> actions_;
  std::map<const CLI::App*, std::function<int()>> offline_actions_;
};

void AddSubmitCommand(Commands& commands);      // submit
void AddPlanCommand(Commands& commands);        // plan
void AddJobCommands(Commands& commands);        // status, list, logs, cancel
void AddWatchCommands(Commands& commands);      // watch, wait
void AddFetchCommand(Commands& commands);       // fetch
void AddNodeCommands(Commands& commands);       // nodes, drain, resume
void AddDoctorCommand(Commands& commands);      // doctor
void AddCompletionCommand(Commands& commands);  // completion

}  // namespace ovi::client
