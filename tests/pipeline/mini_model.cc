#include "tests/pipeline/mini_model.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/check.h"

namespace ovi {

namespace fs = std::filesystem;

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
  fs::create_directories(folder);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(MiniModel())) {
    const fs::path target = fs::path(folder) / fs::relative(entry.path(), MiniModel());
    if (entry.is_directory()) {
      fs::create_directories(target);
    } else {
      fs::create_symlink(entry.path(), target);
    }
  }
}

}  // namespace ovi
