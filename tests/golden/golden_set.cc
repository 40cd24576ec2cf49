#include "tests/golden/golden_set.h"

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi::golden {
namespace {

using nlohmann::json;

Tolerance ParseTolerance(const json& tensor) {
  Tolerance tolerance;
  const json limits = tensor.value("tolerance", json());
  if (!limits.is_object()) return tolerance;
  tolerance.exact = limits.value("exact", false);
  if (limits.contains("rel_l2")) tolerance.rel_l2 = limits["rel_l2"].get<double>();
  if (limits.contains("max_abs")) tolerance.max_abs = limits["max_abs"].get<double>();
  return tolerance;
}

Test ParseTest(const json& entry) {
  return {.id = entry.at("id"),
          .weights = entry.value("weights", std::vector<std::string>()),
          .file = entry.at("file"),
          .outputs = entry.at("outputs"),
          .params = entry.value("params", json::object())};
}

}  // namespace

absl::StatusOr<Set> Set::Open(const std::string& folder) {
  constexpr std::int64_t kManifestBytesMax = 64 << 20;
  Set set;
  const std::string path = folder + "/manifest.json";
  OVI_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kManifestBytesMax));
  try {
    set.manifest_ = json::parse(text);
    for (const json& entry : set.manifest_.at("tests")) set.tests_.push_back(ParseTest(entry));
    for (const auto& [file, tensors] : set.manifest_.at("tensors").items()) {
      OVI_ASSIGN_OR_RETURN(set.files_[file], OpenWeights(absl::StrCat(folder, "/", file, ".safetensors")));
      for (const json& tensor : tensors) set.tolerances_[tensor.at("name")] = ParseTolerance(tensor);
    }
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  return set;
}

absl::StatusOr<std::string> Set::Config(const std::string& name) const {
  const json configs = manifest_.value("configs", json::object());
  if (!configs.contains(name)) return absl::NotFoundError(absl::StrCat("manifest.json: configs: no ", name));
  return configs[name].dump();
}

absl::StatusOr<Reference> Set::Tensor(const std::string& name) const {
  for (const auto& [file, source] : files_) {
    const absl::StatusOr<HostTensor> tensor = source->Find(name);
    if (tensor.ok()) return Reference{tensor->shape, ToFloats(*tensor)};
  }
  return absl::NotFoundError(absl::StrCat("no file of the set has a tensor ", name));
}

absl::StatusOr<const WeightSource*> Set::Weights(const std::string& file) const {
  const auto found = files_.find(file);
  if (found == files_.end()) return absl::NotFoundError(absl::StrCat("the manifest lists no file ", file));
  return found->second.get();
}

Tolerance Set::ToleranceOf(const std::string& tensor) const {
  const auto found = tolerances_.find(tensor);
  return found == tolerances_.end() ? Tolerance{} : found->second;
}

}  // namespace ovi::golden
