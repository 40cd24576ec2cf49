#include "worker/pipeline/loras.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/model/fusion_params.h"

namespace ovi {

namespace fs = std::filesystem;

std::string LoraFile(const std::string& path_or_name, const ModelFolder& model) {
  if (!IsLoraName(path_or_name)) return path_or_name;
  fs::path folder = fs::absolute(model.config_dir).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // it ended in a slash
  return (folder.parent_path() / "loras" / absl::StrCat(path_or_name, ".safetensors")).string();
}

absl::StatusOr<std::vector<LoraAdapter>> OpenLoras(const std::vector<LoraSpec>& loras,
                                                   const ModelFolder& model) {
  std::vector<LoraAdapter> adapters;
  if (loras.empty()) return adapters;
  const std::vector<TensorSpec> tensors = FusionTensors(model.fusion);
  for (const LoraSpec& lora : loras) {
    absl::StatusOr<LoraAdapter> adapter = OpenLora(LoraFile(lora.path, model), lora.strength, tensors);
    // Another node may have it.
    if (absl::IsNotFound(adapter.status())) {
      return absl::FailedPreconditionError(absl::StrCat("loras: ", adapter.status().message()));
    }
    if (!adapter.ok()) return Annotate(adapter.status(), "loras");
    adapters.push_back(*std::move(adapter));
  }
  return adapters;
}

}  // namespace ovi
