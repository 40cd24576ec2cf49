#include "base/cache_dir.h"

#include <unistd.h>

#include <cstdlib>

namespace ovi {

std::string DefaultCacheDir() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string dir = variable("OVI_CACHE_DIR"); !dir.empty()) return dir;
  if (const std::string dir = variable("XDG_CACHE_HOME"); !dir.empty()) return dir + "/ovi";
  if (const std::string dir = variable("HOME"); !dir.empty()) return dir + "/.cache/ovi";
  return "/var/tmp/ovi-" + std::to_string(getuid());
}

}  // namespace ovi
