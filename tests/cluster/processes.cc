#include "tests/cluster/processes.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>

namespace ovi {
namespace {

// "" for a process that ends just now.
std::string FileText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::getline(file, text, '\xff');  // no command line holds it: the whole file
  return text;
}

std::vector<std::string> Arguments(const std::string& cmdline) {
  std::vector<std::string> argv;
  for (std::size_t begin = 0; begin < cmdline.size();) {
    const std::size_t end = std::min(cmdline.find('\0', begin), cmdline.size());
    argv.push_back(cmdline.substr(begin, end - begin));
    begin = end + 1;
  }
  return argv;
}

}  // namespace

std::vector<ProcessSeen> ProcessesNaming(const std::string& text) {
  std::vector<ProcessSeen> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size())
      continue;
    // Empty for a zombie.
    const std::string cmdline = FileText(entry.path() / "cmdline");
    if (cmdline.find(text) != std::string::npos) found.push_back({pid, Arguments(cmdline)});
  }
  return found;
}

std::string ProgramName(const ProcessSeen& process) {
  return process.argv.empty() ? "" : std::filesystem::path(process.argv.front()).filename().string();
}

}  // namespace ovi
