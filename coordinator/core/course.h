// Where a job may go next, by how its attempts ended. Pure. Internal to core.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "coordinator/core/inventory.h"
#include "coordinator/core/state.h"

namespace ovi::core {

struct Course {
  std::vector<VramMode> modes;  // the preferred one first
  std::set<std::string> avoid;  // nodes
};

// Nodes where an attempt ended NODE_NOT_READY are avoided for good: nothing changes there by itself. Those
// where one ended in another way that asks for another node are avoided while there is one: connected, not
// drained, and with room for the job beside what others have there. It goes on in no lower mode than that of
// its last attempt, unless that ran out of memory, or no node that it may go to gives such a mode any more.
// After NODE_NOT_READY not even then: a file that is missing must not make clips worse.
Course CourseOf(const Inventory& inventory, const Job& job);

// False when no node that is known, not drained and not given up for lost could ever take the job.
bool HasNodeLeft(const State& state, const Job& job);

}  // namespace ovi::core
