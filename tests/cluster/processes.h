// Real processes of a test, and those they leave behind.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace ovi {

struct ProcessSeen {
  pid_t pid = 0;
  std::vector<std::string> argv;
};

// All living processes (no zombies) with `text` in an argument. Tests put their own temporary folder into
// every command line they cause, so this finds exactly theirs.
std::vector<ProcessSeen> ProcessesNaming(const std::string& text);

// The base name of argv[0].
std::string ProgramName(const ProcessSeen& process);

}  // namespace ovi
