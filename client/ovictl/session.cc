#include "client/ovictl/session.h"

#include <cstdio>
#include <string>
#include <utility>

#include "base/format.h"
#include "base/secret.h"
#include "base/status.h"
#include "client/ovictl/errors.h"

namespace ovi::client {

absl::StatusOr<Session> OpenSession(const GlobalOptions& options, Interrupt& interrupt) {
  Session session;
  session.json = options.json;
  absl::StatusOr<ClientSettings> settings = LoadSettings(options.settings);
  if (!settings.ok()) return CannotBegin(settings.status());
  session.settings = *std::move(settings);
  std::string token;
  if (!session.settings.token_file.empty()) {
    absl::StatusOr<std::string> secret = ReadSecretFile(session.settings.token_file);
    if (!secret.ok()) return CannotBegin(Annotate(secret.status(), "token file"));
    token = *std::move(secret);
  }
  session.connection =
      std::make_unique<Connection>(ConnectionOptions{.coordinator = session.settings.coordinator,
                                                     .token = std::move(token),
                                                     .timeout_seconds = options.timeout_seconds},
                                   interrupt);
  return session;
}

int ReportError(const absl::Status& status, bool json) {
  if (json) PrintLine(ErrorJson(status));
  std::fflush(stdout);
  for (const std::string& line : ErrorLines(status)) std::fprintf(stderr, "ovictl: %s\n", line.c_str());
  return ExitCodeOf(status);
}

void PrintWarning(std::string_view text) {
  std::fprintf(stderr, "ovictl: warning: %s\n", OneLine(text).c_str());
}

void PrintLine(std::string_view line) {
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

}  // namespace ovi::client
