#include "worker/weights/file_identity.h"

#include <sys/stat.h>

#include <array>
#include <fstream>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace ovi {

std::string FileIdentity(const std::string& path) {
  struct stat info {};
  std::ifstream file(path, std::ios::binary);
  if (!file || ::stat(path.c_str(), &info) != 0) return path;
  std::array<char, 1 << 16> head{};
  file.read(head.data(), head.size());
  return absl::StrCat(info.st_size, " ", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, " ",
                      Sha256Hex(std::string_view(head.data(), static_cast<std::size_t>(file.gcount()))));
}

}  // namespace ovi
