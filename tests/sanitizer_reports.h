// What the sanitizers of the presets asan and tsan say of programs that a test starts. It would go to their
// stderr, which nobody reads, so it goes into files, and the test looks for them.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace ovi {

inline constexpr std::string_view kSanitizerReport = "sanitizer_report";

// Our environment for a child whose reports, and those of all it starts, go to `folder`. Builds without
// sanitizers do not care.
inline std::vector<std::string> ReportingEnvironment(const std::string& folder) {
  constexpr const char* kOptions[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS"};
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (!text.starts_with("ASAN_OPTIONS=") && !text.starts_with("UBSAN_OPTIONS="))
      variables.emplace_back(text);
  }
  for (const char* name : kOptions) {
    const char* const before = std::getenv(name);
    variables.push_back(std::string(name) + "=" + (before != nullptr ? std::string(before) + ":" : "") +
                        "log_path=" + folder + "/" + std::string(kSanitizerReport));
  }
  return variables;
}

// All reports in `folder`; "" = none, as it should be.
inline std::string SanitizerReports(const std::string& folder) {
  std::string reports;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with(kSanitizerReport)) continue;
    std::ifstream file(entry.path());
    reports.append(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return reports;
}

}  // namespace ovi
