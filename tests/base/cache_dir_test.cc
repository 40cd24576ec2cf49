#include "base/cache_dir.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

namespace ovi {
namespace {

TEST(DefaultCacheDir, IsWhereTheEnvironmentSays) {
  const std::string without_home = "/var/tmp/ovi-" + std::to_string(getuid());
  const struct {
    const char *ovi, *xdg, *home;
    std::string dir;
  } rows[] = {{"/a", "/b", "/c", "/a"},
              {nullptr, "/b", "/c", "/b/ovi"},
              {"", "/b", "/c", "/b/ovi"},
              {nullptr, nullptr, "/c", "/c/.cache/ovi"},
              {nullptr, nullptr, nullptr, without_home}};
  const auto set = [](const char* name, const char* value) {
    return value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  };
  for (const auto& row : rows) {
    ASSERT_EQ(set("OVI_CACHE_DIR", row.ovi) + set("XDG_CACHE_HOME", row.xdg) + set("HOME", row.home), 0);
    EXPECT_EQ(DefaultCacheDir(), row.dir);
  }
}

}  // namespace
}  // namespace ovi
