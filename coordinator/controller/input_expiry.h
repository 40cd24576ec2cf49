// Which uploaded first frames jobs still need.
#pragma once

#include <set>
#include <string>

#include "coordinator/core/state.h"

namespace ovi {

// The hashes that jobs name which have not ended. Pure.
std::set<std::string> InputsInUse(const core::State& state);

}  // namespace ovi
