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

const std::vector<std::string>& MiniPrompts() {
  static const std::vector<std::string> prompts = {
      "A red circle moves right across a black background. Audio: a low steady tone.",
      "A green square moves left across a white background. Audio: a mid steady tone.",
      "A yellow triangle moves up across a blue background. Audio: a high steady tone.",
      "A purple circle moves down across a gray background. Audio: short beeps.",
      "A cyan square bounces on a black background. Audio: a rising sweep.",
      "A orange triangle grows on a white background. Audio: a falling sweep.",
      "A red square stays still on a blue background. Audio: silence.",
      "A green triangle moves right across a gray background. Audio: short beeps.",
  };
  return prompts;
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
