// What a command that talks to the coordinator works with.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/ovictl/client_settings.h"
#include "client/ovictl/connection.h"
#include "client/ovictl/interrupt.h"

namespace ovi::client {

// Options that every command takes.
struct GlobalOptions {
  SettingFlags settings;  // user and out: where the command has such options
  double timeout_seconds = 10;
  bool json = false;
};

struct Session {
  bool json = false;
  ClientSettings settings;
  std::unique_ptr<Connection> connection;

  Interrupt& interrupt() const { return connection->interrupt(); }
};

// INVALID_ARGUMENT when settings or token file are not usable. Does not dial.
absl::StatusOr<Session> OpenSession(const GlobalOptions& options, Interrupt& interrupt);

// An error on stderr for people, and with `json` on stdout too, where programs read. Returns its exit code.
int ReportError(const absl::Status& status, bool json);
// A plain line on stderr: "ovictl: warning: ...".
void PrintWarning(std::string_view text);
// A line on stdout, at once: pipes and people wait for it.
void PrintLine(std::string_view line);

}  // namespace ovi::client
