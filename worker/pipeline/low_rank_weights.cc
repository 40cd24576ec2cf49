#include "worker/pipeline/low_rank_weights.h"

#include <filesystem>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/pipeline/weights_form.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

constexpr double kSecondsMax = 60;  // that a job may wait for

// For downloaded weights, the configuration's folder is the model's name.
std::string ConvertCommand(const ModelFolder& model) {
  std::string command = absl::StrCat("ovi-worker convert --model ", model.weights_dir);
  if (model.config_dir != model.weights_dir) {
    const fs::path config = fs::absolute(model.config_dir).lexically_normal();
    const fs::path name = config.has_filename() ? config.filename() : config.parent_path().filename();
    absl::StrAppend(&command, " --model-name ", name.string());
  }
  return absl::StrCat(command, " --format low_rank");
}

}  // namespace

absl::StatusOr<std::string> FindLowRankWeights(const ModelFolder& model, const std::string& cache_dir,
                                               const QuantiseProgress& progress) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<WeightSource> source, OpenWeights(model.fusion_weights));
  if (IsLowRank(*source)) return model.fusion_weights;
  const QuantiseRequest request{.source_path = model.fusion_weights, .format = QuantisedFormat::kLowRank};
  OVI_ASSIGN_OR_RETURN(const std::optional<std::string> found, FindQuantised(request, cache_dir));
  if (found) return *found;
  if (LowRankSecondsOf(source->List()) > kSecondsMax) {
    return absl::FailedPreconditionError(absl::StrCat(
        "enable_lora without loras needs compressed weights; make them once with: ", ConvertCommand(model)));
  }
  return EnsureQuantised(request, cache_dir, progress);
}

}  // namespace ovi
