#include "tests/e2e/worker_process.h"

#include <chrono>
#include <sstream>

#include "base/subprocess.h"

namespace ovi {

std::vector<std::string> WorkerArgv(const std::vector<std::string>& args, const Environment& extra) {
  // Two test programs on two cores are slower by tens of times when libgomp's idle threads spin.
  std::vector<std::string> argv = {"/usr/bin/env", "OMP_WAIT_POLICY=passive",
                                   "OVI_MODELS_DIR=" OVI_SOURCE_DIR "/configs/models"};
  for (const auto& [name, value] : extra) argv.push_back(name + "=" + value);
  argv.push_back(OVI_WORKER);
  argv.insert(argv.end(), args.begin(), args.end());
  return argv;
}

WorkerRun RunWorker(const std::vector<std::string>& args, const Environment& extra) {
  const absl::StatusOr<CapturedRun> run =
      RunAndCapture(WorkerArgv(args, extra), {.timeout = std::chrono::minutes(4)});
  if (!run.ok()) return {-1, "", run.status().ToString()};
  return {run->exit.signal == 0 ? run->exit.code : -1, run->stdout_text, run->stderr_tail};
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace ovi
