#include "worker/cli/inspect.h"

#include <cstdio>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "worker/cli/exit_codes.h"
#include "worker/cli/print_error.h"
#include "worker/model/fusion_params.h"
#include "worker/pipeline/model_folder.h"
#include "worker/weights/inspect.h"

namespace ovi {
namespace {

constexpr std::int64_t kConfigBytesMax = 64 * 1024;

absl::Status ReadTower(const std::string& path, TowerConfig& tower) {
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kConfigBytesMax));
  OVI_ASSIGN_OR_RETURN(tower, ParseTowerConfig(text, path));
  return absl::OkStatus();
}

// From the configuration alone: whether an adapter fits can be asked where the model's weights are not.
absl::StatusOr<std::vector<TensorSpec>> TensorsOf(const std::string& model) {
  std::error_code error;
  const std::string folder =
      std::filesystem::is_directory(model, error) ? model : absl::StrCat(DefaultModelsDir(), "/", model);
  FusionConfig config;
  OVI_RETURN_IF_ERROR(ReadTower(folder + "/Ovi/configs/video.json", config.video));
  OVI_RETURN_IF_ERROR(ReadTower(folder + "/Ovi/configs/audio.json", config.audio));
  return FusionTensors(config);
}

absl::StatusOr<std::string> Inspect(const InspectOptions& options) {
  if (options.model.empty()) return InspectWeights(options.file, options.json);
  OVI_ASSIGN_OR_RETURN(const std::vector<TensorSpec> tensors, TensorsOf(options.model));
  return InspectWeights(options.file, options.json, &tensors);
}

}  // namespace

int RunInspect(const InspectOptions& options) {
  const absl::StatusOr<std::string> table = Inspect(options);
  if (!table.ok()) {
    PrintError({table.status().message().data(), table.status().message().size()});
    return kExitFailed;
  }
  std::fputs(table->c_str(), stdout);
  return 0;
}

}  // namespace ovi
