#include "tests/e2e/worker_process.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "base/subprocess.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

}  // namespace

TempFolder::TempFolder() {
  std::string pattern = (fs::temp_directory_path() / "ovi-e2e-XXXXXX").string();
  OVI_CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TempFolder::Write(const std::string& name, const std::string& bytes) const {
  const std::string path = *this / name;
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  OVI_CHECK(file.good());
  return path;
}

std::vector<std::string> TempFolder::Files() const {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path_)) {
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), path_).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> TempFolder::Files(const std::string& end) const {
  std::vector<std::string> names = Files();
  std::erase_if(names, [&](const std::string& name) { return !name.ends_with(end); });
  return names;
}

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

std::string MiniJob() {
  return OVI_SOURCE_DIR "/configs/jobs/mini-ovi.yaml";
}

std::string MiniModel() {
  return OVI_SOURCE_DIR "/configs/models/mini-ovi";
}

std::string GoldenFile(const std::string& name) {
  return OVI_SOURCE_DIR "/tests/golden/mini-ovi/" + name;
}

void LinkModel(const std::string& folder) {
  fs::copy(MiniModel(), folder, fs::copy_options::recursive | fs::copy_options::create_symlinks);
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace ovi
