// Completion scripts, made from the commands as CLI11 knows them, so that they cannot fall behind. Pure.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace ovi::client {

// For bash. Words, options, states and kinds are in it; ids of jobs and names of nodes are asked of the
// coordinator when they are wanted, for at most two seconds.
std::string BashCompletion(const CLI::App& app);

}  // namespace ovi::client
