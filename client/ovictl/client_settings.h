// Whom ovictl talks to and as whom: flags, then environment, then ~/.config/ovi/config.yaml, then defaults.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace ovi::client {

inline constexpr const char* kDefaultCoordinator = "127.0.0.1:7700";

struct ClientSettings {
  std::string coordinator;  // host:port, or a gRPC target with a scheme (unix:/run/ovi.sock)
  std::string token_file;   // "" = no token is shown
  std::string user;         // whose jobs are submitted; "" where even the login name is unknown
  std::string out;          // folder for results; "" = not said
};

// Options of the command line, where given.
struct SettingFlags {
  std::optional<std::string> coordinator, token_file, user, out;
};

struct ConfigFile {
  std::string path;
  std::string text;
};

// Where the settings may come from besides flags.
struct SettingSources {
  std::function<std::string(const char* name)> environment;  // "" for unset and for empty
  std::optional<ConfigFile> file;                            // nullopt: there is none
  std::string home;                                          // what ~/ in the file stands for
  std::string login_name;
};

// Pure. Empty values count as not given. INVALID_ARGUMENT names the flag, variable or line: unknown key (with
// the nearest known one), a value that is no text, an address without sense. Relative paths in the file count
// from its folder.
absl::StatusOr<ClientSettings> ResolveSettings(const SettingFlags& flags, const SettingSources& sources);

// The same with this process's environment and the file at $XDG_CONFIG_HOME/ovi/config.yaml (else
// ~/.config/ovi/config.yaml), which may be missing.
absl::StatusOr<ClientSettings> LoadSettings(const SettingFlags& flags);

}  // namespace ovi::client
