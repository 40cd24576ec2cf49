#include "tests/pipeline/mini_model.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/check.h"

namespace ovi {

namespace fs = std::filesystem;

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
