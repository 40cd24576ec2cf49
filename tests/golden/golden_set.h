// A folder of reference data in the format of tests/golden/open: manifest.json and safetensors files beside
// it.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/weight_source.h"

namespace ovi::golden {

// How near a value must come. Without limits any value passes.
struct Tolerance {
  bool exact = false;
  std::optional<double> rel_l2;
  std::optional<double> max_abs;
};

struct Reference {
  Shape shape;
  std::vector<float> values;
};

// One test of the manifest.
struct Test {
  std::string id;
  std::vector<std::string> weights;
  std::string file;
  std::vector<std::string> outputs;
  nlohmann::json params;  // an object, perhaps empty
};

// Everything the manifest says, with its files open. Thread-compatible.
class Set {
 public:
  static absl::StatusOr<Set> Open(const std::string& folder);

  const std::vector<Test>& tests() const { return tests_; }
  const nlohmann::json& manifest() const { return manifest_; }
  // The JSON text of configs.<name>.
  absl::StatusOr<std::string> Config(const std::string& name) const;
  // NOT_FOUND when no file of the set has the tensor. Names are unique over the set.
  absl::StatusOr<Reference> Tensor(const std::string& name) const;
  absl::StatusOr<const WeightSource*> Weights(const std::string& file) const;
  Tolerance ToleranceOf(const std::string& tensor) const;

 private:
  nlohmann::json manifest_;
  std::vector<Test> tests_;
  std::map<std::string, std::unique_ptr<WeightSource>> files_;  // by name without ending
  std::map<std::string, Tolerance> tolerances_;
};

}  // namespace ovi::golden
