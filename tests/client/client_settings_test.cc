// Where settings come from, and what is refused.
#include "client/ovictl/client_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace ovi::client {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Given {
  SettingFlags flags;
  std::map<std::string, std::string> environment;
  std::optional<std::string> file;
};

absl::StatusOr<ClientSettings> Resolve(const Given& given) {
  SettingSources sources;
  sources.environment = [&given](const char* name) {
    const auto found = given.environment.find(name);
    return found == given.environment.end() ? std::string() : found->second;
  };
  if (given.file) sources.file = ConfigFile{"/users/ann/.config/ovi/config.yaml", *given.file};
  sources.home = "/users/ann";
  sources.login_name = "ann";
  return ResolveSettings(given.flags, sources);
}

constexpr const char* kFile =
    "coordinator: file:1\ntoken_file: /file/token\nuser: file-user\nout: /file/out\n";
const std::map<std::string, std::string> kEnvironment = {{"OVI_COORDINATOR", "env:2"},
                                                         {"OVI_TOKEN_FILE", "/env/token"},
                                                         {"OVI_USER", "env-user"},
                                                         {"OVI_OUT", "/env/out"}};
const SettingFlags kFlags = {
    .coordinator = "flag:3", .token_file = "flag/token", .user = "flag-user", .out = "flag/out"};

TEST(ClientSettings, TakesFlagsThenEnvironmentThenFileThenDefaults) {
  const struct {
    const char* name;
    Given given;
    ClientSettings wanted;
  } rows[] = {
      {"defaults", {}, {"127.0.0.1:7700", "", "ann", ""}},
      {"file", {{}, {}, kFile}, {"file:1", "/file/token", "file-user", "/file/out"}},
      {"environment", {{}, kEnvironment, {}}, {"env:2", "/env/token", "env-user", "/env/out"}},
      {"environment over file", {{}, kEnvironment, kFile}, {"env:2", "/env/token", "env-user", "/env/out"}},
      {"flags over all", {kFlags, kEnvironment, kFile}, {"flag:3", "flag/token", "flag-user", "flag/out"}},
      {"each by itself",
       {{.user = "flag-user"}, {{"OVI_OUT", "/env/out"}}, "coordinator: file:1\n"},
       {"file:1", "", "flag-user", "/env/out"}},
      {"empty values are not given",
       {{.coordinator = "", .user = ""}, {{"OVI_USER", ""}}, "coordinator: \"\"\nuser:\n"},
       {"127.0.0.1:7700", "", "ann", ""}},
      {"an empty file", {{}, {}, "# nothing\n"}, {"127.0.0.1:7700", "", "ann", ""}},
      {"paths of the file",
       {{}, {}, "token_file: token\nout: ~/videos\n"},
       {"127.0.0.1:7700", "/users/ann/.config/ovi/token", "ann", "/users/ann/videos"}},
      {"paths of flags and environment are the shell's",
       {{.out = "~/x"}, {{"OVI_TOKEN_FILE", "token"}}, {}},
       {"127.0.0.1:7700", "token", "ann", "~/x"}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const absl::StatusOr<ClientSettings> settings = Resolve(row.given);
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_EQ(settings->coordinator, row.wanted.coordinator);
    EXPECT_EQ(settings->token_file, row.wanted.token_file);
    EXPECT_EQ(settings->user, row.wanted.user);
    EXPECT_EQ(settings->out, row.wanted.out);
  }
}

TEST(ClientSettings, TakesAddressesThatGrpcKnows) {
  for (const char* address : {"localhost:7700", "gpu-box.lan:1", "10.0.0.7:65535", "[::1]:7700",
                              "unix:/run/ovi.sock", "dns:///ovi.example:7700"}) {
    const auto settings = Resolve({.flags = {.coordinator = address}});
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_EQ(settings->coordinator, address);
  }
}

TEST(ClientSettings, RefusesWhatItCannotMean) {
  const struct {
    Given given;
    const char* message;
  } rows[] = {
      {{.flags = {.coordinator = "localhost"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = ":7700"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "host:"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "host:0"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "host:65536"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "host:77x"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "::1:7700"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "http://host:7700"}}, "--coordinator: must be host:port"},
      {{.flags = {.coordinator = "ho st:7700"}}, "--coordinator: must be host:port"},
      {{.environment = {{"OVI_COORDINATOR", "x"}}}, "OVI_COORDINATOR: must be host:port, such as"},
      {{.file = "user: bob\ncoordinator: x\n"}, "/users/ann/.config/ovi/config.yaml:2: must be host:port"},
      {{.flags = {.user = "ann@home"}},
       "--user: must be at most 64 of letters, digits, . _ -, got \"ann@home\""},
      {{.flags = {.user = std::string(65, 'a')}}, "--user: must be at most 64"},
      {{.file = "cordinator: a:1\n"},
       "/users/ann/.config/ovi/config.yaml:1: unknown key \"cordinator\"; did you mean \"coordinator\"?"},
      {{.file = "colour: red\n"},
       "config.yaml:1: unknown key \"colour\"; there are coordinator, token_file, user, out"},
      {{.file = "user: [a]\n"}, "config.yaml:1: user "},
      {{.file = "user: 7\n"}, "config.yaml:1: user "},
      {{.file = "- a\n"}, "config.yaml:1: must be a list of \"key: value\" lines"},
      {{.file = "user: \"a\n"}, "config.yaml:1: "},
  };
  for (const auto& row : rows) {
    const auto settings = Resolve(row.given);
    EXPECT_TRUE(absl::IsInvalidArgument(settings.status())) << settings.status();
    EXPECT_THAT(std::string(settings.status().message()), HasSubstr(row.message));
  }
}

TEST(ClientSettings, NamesTheLoginNameThatCannotBeAUser) {
  SettingSources sources;
  sources.environment = [](const char*) { return std::string(); };
  sources.login_name = "DOMAIN\\ann";
  const auto settings = ResolveSettings({}, sources);
  EXPECT_THAT(std::string(settings.status().message()),
              StartsWith("the login name (--user and OVI_USER go before it): "));
}

}  // namespace
}  // namespace ovi::client
