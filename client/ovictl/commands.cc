#include "client/ovictl/commands.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace ovi::client {

CLI::App* Commands::Add(const std::string& name, const std::string& description, Action action) {
  CLI::App* command = app_.add_subcommand(name, description);
  actions_[command] = std::move(action);
  return command;
}

CLI::App* Commands::AddOffline(const std::string& name, const std::string& description,
                               std::function<int()> action) {
  CLI::App* command = app_.add_subcommand(name, description);
  offline_actions_[command] = std::move(action);
  return command;
}

absl::StatusOr<int> Commands::Run(Interrupt& interrupt) const {
  OVI_CHECK(app_.get_subcommands().size() == 1);
  const CLI::App* chosen = app_.get_subcommands().front();
  if (const auto offline = offline_actions_.find(chosen); offline != offline_actions_.end()) {
    return offline->second();
  }
  OVI_ASSIGN_OR_RETURN(Session session, OpenSession(options_, interrupt));
  return actions_.at(chosen)(session);
}

}  // namespace ovi::client
