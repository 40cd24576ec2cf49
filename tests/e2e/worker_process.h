// The program under test as a child process.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ovi {

struct WorkerRun {
  int exit_code = -1;  // -1 where it was killed or did not end in time
  std::string out;
  std::string err;  // its last 8 KB
};

using Environment = std::vector<std::pair<std::string, std::string>>;

// argv of `ovi-worker args...` with the shipped models and `extra` environment variables.
std::vector<std::string> WorkerArgv(const std::vector<std::string>& args, const Environment& extra = {});
// Runs it to its end.
WorkerRun RunWorker(const std::vector<std::string>& args, const Environment& extra = {});

std::vector<std::string> Lines(const std::string& text);

}  // namespace ovi
