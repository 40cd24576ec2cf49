// What happened, a line each: for reading a seed that failed. Set OVI_SIM_TRACE=1 to have a simulation write
// it.
#pragma once

#include <string>

#include "coordinator/core/advance.h"

namespace ovi::sim {

std::string Describe(const core::Event& event);
std::string Describe(const core::Change& change);
std::string Describe(const core::Decision& decision);

}  // namespace ovi::sim
