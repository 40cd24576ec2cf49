#include "base/program_files.h"

#include <filesystem>
#include <system_error>

namespace ovi {

std::string FindNearProgram(std::initializer_list<std::string_view> places) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path(); folder.has_relative_path();
       folder = folder.parent_path()) {
    for (const std::string_view place : places) {
      if (fs::exists(folder / place, error)) return (folder / place).string();
    }
  }
  return "";
}

}  // namespace ovi
