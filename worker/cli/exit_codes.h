// What scripts rely on; 0 is done.
#pragma once

namespace ovi {

inline constexpr int kExitFailed = 1;  // while it worked
inline constexpr int kExitUsage = 2;   // cannot begin: usage, or a file or folder that was named
inline constexpr int kExitInterrupted = 130;

}  // namespace ovi
