// How many ranks a group may have. Knows no MPI, so that the agent can tell the coordinator.
#pragma once

#include <algorithm>
#include <vector>

namespace ovi {

// Ascending. 1: everything on one rank. 2: the positive and the negative pass of guidance on a rank each.
inline std::vector<int> SupportedWorldSizes() {
  return {1, 2};
}

inline bool IsSupportedWorldSize(int ranks) {
  const std::vector<int> sizes = SupportedWorldSizes();
  return std::find(sizes.begin(), sizes.end(), ranks) != sizes.end();
}

}  // namespace ovi
