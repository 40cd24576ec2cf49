#include "tests/client/ovictl_process.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <sstream>

#include "base/check.h"

namespace ovi::client {

OvictlHome::OvictlHome(const std::string& coordinator) {
  const char* path = std::getenv("PATH");
  environment_ = {{"PATH", path != nullptr ? path : "/usr/bin:/bin"},
                  {"HOME", folder_ / "home"},
                  {"TZ", "UTC"},
                  {"OVI_MODELS_DIR", OVI_SOURCE_DIR "/configs/models"},
                  {"OVI_COORDINATOR", coordinator}};
}

void OvictlHome::Set(const std::string& name, const std::string& value) {
  std::erase_if(environment_, [&](const auto& variable) { return variable.first == name; });
  if (!value.empty()) environment_.emplace_back(name, value);
}

std::vector<std::string> OvictlHome::Argv(const std::vector<std::string>& args) const {
  std::vector<std::string> argv = {"/usr/bin/env", "-i"};
  for (const auto& [name, value] : environment_) argv.push_back(name + "=" + value);
  argv.push_back(OVI_OVICTL);
  argv.insert(argv.end(), args.begin(), args.end());
  return argv;
}

OvictlRun OvictlHome::Run(const std::vector<std::string>& args) const {
  const absl::StatusOr<CapturedRun> run = RunAndCapture(Argv(args), {.timeout = std::chrono::minutes(2)});
  if (!run.ok()) return {-1, "", run.status().ToString()};
  return {run->exit.signal == 0 ? run->exit.code : -1, run->stdout_text, run->stderr_tail};
}

std::unique_ptr<Subprocess> OvictlHome::Start(const std::vector<std::string>& args) const {
  absl::StatusOr<std::unique_ptr<Subprocess>> process =
      Subprocess::Start(Argv(args), {.stdout_stream = StandardStream::kPipe});
  OVI_CHECK(process.ok());
  return *std::move(process);
}

std::string ReadUntil(int fd, const std::string& text) {
  std::string all;
  char buffer[4096];
  for (ssize_t count;
       all.find(text) == std::string::npos && (count = ::read(fd, buffer, sizeof(buffer))) > 0;) {
    all.append(buffer, static_cast<std::size_t>(count));
  }
  return all;
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace ovi::client
