// The wall clock, for those at the edge who may read one.
#pragma once

#include <chrono>
#include <cstdint>

namespace ovi {

// Milliseconds since 1970, UTC.
inline std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace ovi
