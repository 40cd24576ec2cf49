#include "coordinator/config.h"

#include <gtest/gtest.h>

namespace ovi {
namespace {

using Overrides = std::vector<std::pair<std::string, std::string>>;

TEST(CoordinatorConfig, FlagsWinOverTheFile) {
  const absl::StatusOr<CoordinatorConfig> config = ParseCoordinatorConfig(
      "data_dir: /a\nattempts_max: 5\nlog_level: debug\n", "c.yaml", {{"data_dir", "/b"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->data_dir, "/b");
  EXPECT_EQ(config->policy.attempts_max, 5);
  EXPECT_EQ(config->log.level, LogLevel::kDebug);
  EXPECT_EQ(config->listen, "127.0.0.1:7700");
}

TEST(CoordinatorConfig, TextOnACommandLineNeedsNoQuotes) {
  const absl::StatusOr<CoordinatorConfig> config = ParseCoordinatorConfig("", "", {{"data_dir", "2026"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->data_dir, "2026");
}

struct Refusal {
  const char* yaml;
  Overrides overrides;
  const char* message;
};

TEST(CoordinatorConfig, RefusesInOneLine) {
  const Refusal rows[] = {
      {"", {}, "data_dir is needed"},
      {"data_dri: /a", {}, "c.yaml:1: unknown key \"data_dri\"; did you mean \"data_dir\"?"},
      {"data_dir: /a\nattempts_max: 0",
       {},
       "c.yaml:2: attempts_max: must be a whole number from 1 to 100, got 0"},
      {"data_dir: /a\nlog_level: loud", {}, "must be debug, info, warning or error"},
      {"data_dir: /a\ninsecure: 1", {}, "c.yaml:2: insecure"},
      {"data_dir: /a", {{"listen", "0.0.0.0:7700"}}, "is open to other machines"},
      {"data_dir: /a", {{"stall_ms_max", "soon"}}, "--set: stall_ms_max"},
      {"- a", {}, "key: value"},
  };
  for (const Refusal& row : rows) {
    SCOPED_TRACE(row.yaml);
    const absl::Status status = ParseCoordinatorConfig(row.yaml, "c.yaml", row.overrides).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(row.message), absl::string_view::npos) << status;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
}

TEST(CoordinatorConfig, OpenAddressesNeedToBeMeant) {
  EXPECT_TRUE(
      ParseCoordinatorConfig("", "", {{"data_dir", "/a"}, {"listen", "0.0.0.0:1"}, {"insecure", "true"}})
          .ok());
  EXPECT_TRUE(ParseCoordinatorConfig("", "", {{"data_dir", "/a"}, {"listen", "unix:/tmp/x"}}).ok());
}

}  // namespace
}  // namespace ovi
