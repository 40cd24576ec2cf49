// ovi-worker convert: a model's fusion transformer in one byte a weight or less.
#pragma once

#include <cstdint>
#include <string>

#include "worker/job/model_choice.h"

namespace ovi {

struct ConvertOptions {
  std::string model;                          // --model: a folder or a model's name
  std::string model_name{kDefaultModelName};  // --model-name: of what is in a folder of downloaded weights
  std::string format;                         // --format: fp8, int8 or low_rank
  std::int64_t rank = 0;                      // --rank; 0 for the default
  std::string out;                            // --out: "" for a file in the cache folder
  int threads = 0;                            // --threads; 0 for all cores
};

// The last line it prints is the path of the file. Returns the exit code: 0, 1 failed while it worked, 2
// cannot begin (options, model files, folder, disk), 130 interrupted.
int RunConvert(const ConvertOptions& options);

}  // namespace ovi
