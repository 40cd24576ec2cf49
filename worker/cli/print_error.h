// The one line on stderr that an unsuccessful run ends with.
#pragma once

#include <cstdio>
#include <string_view>

#include "base/format.h"

namespace ovi {

inline void PrintError(std::string_view message) {
  std::fprintf(stderr, "ovi-worker: %s\n", OneLine(message).c_str());
}

}  // namespace ovi
