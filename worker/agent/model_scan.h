// The models that this node can run: every folder below the models' folder that has a model_spec.json.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ovi/v1/node.pb.h"
#include "worker/pipeline/model_folder.h"

namespace ovi {

// The configuration is <models_dir>/<name>; the weights are beside it, or in `weights_dir` when they are not
// (and it is not ""). Errors are those of OpenModelFolder.
absl::StatusOr<ModelFolder> OpenServedModel(const std::string& models_dir, const std::string& weights_dir,
                                            const std::string& name);

// Thread-compatible.
class ModelScan {
 public:
  using MemoryNeedFunction = std::function<absl::StatusOr<std::vector<v1::MemoryNeed>>(const ModelFolder&)>;

  struct Settings {
    std::string models_dir, weights_dir;
    // Finding out what a model needs takes seconds for a large one; once for the same files ...
    std::string cache_file;
    std::string gpus;  // ... and the same number of GPUs, or whatever else the needs depend on
    MemoryNeedFunction needs_of;
  };
  explicit ModelScan(Settings settings) : settings_(std::move(settings)) {}

  // Sorted by name. What is wrong with a folder is its `problem`; a models' folder that is not there has
  // none. Reads some megabytes of each weight file.
  std::vector<v1::ModelInfo> Scan() const;

 private:
  v1::ModelInfo Describe(const std::string& name) const;
  absl::StatusOr<std::vector<v1::MemoryNeed>> NeedsOf(const std::string& name) const;

  const Settings settings_;
};

}  // namespace ovi
