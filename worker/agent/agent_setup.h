// What an agent settles on the machine before it begins.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "worker/agent/config.h"

namespace ovi {

// Fills in what the configuration leaves open (name, models, worker) and makes its folders absolute.
// `own_path`: this program, beside which, in ../bin of an installation or ../cli of a build, the worker is
// looked for.
absl::Status CompleteConfig(AgentConfig& config, const std::string& own_path);

// Makes the folder where it is missing. FAILED_PRECONDITION, with its pid, while another agent has it. The
// lock is given back with the descriptor.
absl::StatusOr<UniqueFd> LockStateFolder(const std::string& state_dir);

}  // namespace ovi
