#include "client/ovictl/client_settings.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "base/yaml.h"
#include "base/yaml_value.h"
#include "worker/job/prompts.h"

namespace ovi::client {
namespace {

constexpr std::int64_t kConfigBytesMax = 64 * 1024;
constexpr std::int64_t kValueBytesMax = 4096;

struct Source {
  const char* key;       // in the file
  const char* flag;      // on the command line
  const char* variable;  // in the environment
  bool is_path;
};

constexpr Source kCoordinator = {"coordinator", "--coordinator", "OVI_COORDINATOR", false};
constexpr Source kTokenFile = {"token_file", "--token-file", "OVI_TOKEN_FILE", true};
constexpr Source kUser = {"user", "--user", "OVI_USER", false};
constexpr Source kOut = {"out", "--out", "OVI_OUT", true};

// A value, and what an error message calls the place it came from.
struct Found {
  std::string value;
  std::string place;
};

using FileValues = std::map<std::string, Found, std::less<>>;

// A path of the file, as its author meant it.
std::string PathOfFile(const std::string& path, const std::string& file, const std::string& home) {
  if (path.starts_with("~/")) return absl::StrCat(home, path.substr(1));
  return ResolvePath(path, file.substr(0, file.rfind('/') + 1));
}

absl::StatusOr<FileValues> ReadFileValues(const ConfigFile& file, const std::string& home) {
  FileValues values;
  OVI_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(file.text, file.path));
  if (root.kind != YamlNode::Kind::kMap && root.kind != YamlNode::Kind::kNull) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path, ":", root.line, ": must be a list of \"key: value\" lines"));
  }
  constexpr Source kAll[] = {kCoordinator, kTokenFile, kUser, kOut};
  for (const YamlEntry& entry : root.entries) {
    const std::string place = absl::StrCat(file.path, ":", entry.line);
    const auto* source = std::find_if(std::begin(kAll), std::end(kAll),
                                      [&](const Source& known) { return entry.key == known.key; });
    if (source == std::end(kAll)) {
      std::vector<std::string_view> names;
      for (const Source& known : kAll) names.emplace_back(known.key);
      const std::string nearest = NearestName(entry.key, names);
      return absl::InvalidArgumentError(
          absl::StrCat(place, ": unknown key ", Quoted(entry.key),
                       nearest.empty() ? "; there are coordinator, token_file, user, out"
                                       : absl::StrCat("; did you mean \"", nearest, "\"?")));
    }
    if (entry.value.kind == YamlNode::Kind::kNull) continue;
    const absl::StatusOr<std::string> text = YamlText(entry.value, kValueBytesMax);
    if (!text.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": ", entry.key, " ", text.status().message()));
    }
    values[entry.key] = {source->is_path && !text->empty() ? PathOfFile(*text, file.path, home) : *text,
                         place};
  }
  return values;
}

Found Pick(const Source& source, const std::optional<std::string>& flag, const SettingSources& sources,
           const FileValues& file, const std::string& fallback) {
  if (flag && !flag->empty()) return {*flag, source.flag};
  if (std::string value = sources.environment(source.variable); !value.empty()) {
    return {std::move(value), source.variable};
  }
  const auto in_file = file.find(source.key);
  if (in_file != file.end() && !in_file->second.value.empty()) return in_file->second;
  return {fallback, "default"};
}

absl::Status Wrong(const Found& found, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(found.place, ": ", std::string(what), ", got ", Quoted(found.value)));
}

bool HasBlank(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; });
}

// host:port, [v6]:port, or what has a scheme gRPC knows. gRPC itself would accept nonsense and look it up.
absl::Status CheckCoordinator(const Found& found) {
  constexpr const char* kWanted = "must be host:port, such as 127.0.0.1:7700";
  const std::string& address = found.value;
  if (HasBlank(address)) return Wrong(found, kWanted);
  if (address.starts_with("unix:") || address.starts_with("dns:")) return absl::OkStatus();
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return Wrong(found, kWanted);
  const std::string host = address.substr(0, colon);
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (!bracketed && (host.find(':') != std::string::npos || host.find('/') != std::string::npos)) {
    return Wrong(found, kWanted);
  }
  int port = 0;
  const char* end = address.data() + address.size();
  const auto [parsed_to, error] = std::from_chars(address.data() + colon + 1, end, port);
  if (error != std::errc() || parsed_to != end || port < 1 || port > 65535) return Wrong(found, kWanted);
  return absl::OkStatus();
}

absl::Status CheckUser(const Found& found) {
  constexpr std::size_t kUserBytesMax = 64;
  const std::string& user = found.value;
  const bool plain = std::all_of(user.begin(), user.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (plain && user.size() <= kUserBytesMax) return absl::OkStatus();
  return Wrong(found, absl::StrCat("must be at most ", kUserBytesMax, " of letters, digits, . _ -"));
}

std::string LoginName() {
  const passwd* entry = ::getpwuid(::geteuid());  // NOLINT(concurrency-mt-unsafe): before any thread asks
  if (entry != nullptr) return entry->pw_name;
  const char* name = std::getenv("USER");
  return name != nullptr ? name : "";
}

std::string HomeFolder() {
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return home;
  const passwd* entry = ::getpwuid(::geteuid());
  return entry != nullptr ? entry->pw_dir : "";
}

}  // namespace

absl::StatusOr<ClientSettings> ResolveSettings(const SettingFlags& flags, const SettingSources& sources) {
  FileValues file;
  if (sources.file) {
    OVI_ASSIGN_OR_RETURN(file, ReadFileValues(*sources.file, sources.home));
  }
  const Found coordinator = Pick(kCoordinator, flags.coordinator, sources, file, kDefaultCoordinator);
  OVI_RETURN_IF_ERROR(CheckCoordinator(coordinator));
  Found user = Pick(kUser, flags.user, sources, file, sources.login_name);
  if (user.place == "default") user.place = "the login name (--user and OVI_USER go before it)";
  OVI_RETURN_IF_ERROR(CheckUser(user));
  return ClientSettings{.coordinator = coordinator.value,
                        .token_file = Pick(kTokenFile, flags.token_file, sources, file, "").value,
                        .user = user.value,
                        .out = Pick(kOut, flags.out, sources, file, "").value};
}

absl::StatusOr<ClientSettings> LoadSettings(const SettingFlags& flags) {
  SettingSources sources;
  sources.environment = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  sources.home = HomeFolder();
  sources.login_name = LoginName();
  const std::string xdg = sources.environment("XDG_CONFIG_HOME");
  // The XDG specification: relative paths are to be ignored.
  const std::string folder = xdg.starts_with('/') ? xdg : sources.home + "/.config";
  const std::string path = folder + "/ovi/config.yaml";
  absl::StatusOr<std::string> text = ReadSmallFile(path, kConfigBytesMax);
  if (text.ok()) {
    sources.file = ConfigFile{path, *std::move(text)};
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  return ResolveSettings(flags, sources);
}

}  // namespace ovi::client
