// Computes the outputs of one golden test with the engine.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/golden/golden_set.h"
#include "worker/model/runtime.h"

namespace ovi::golden {

// What the engine computed, by the manifest's tensor names, row-major.
using Results = std::map<std::string, std::vector<float>>;

struct Context {
  const Set& set;
  const Test& test;
  Runtime runtime;
  PrecisionPolicy policy;
  MatrixFormat block_matrices = {DType::kBF16};  // of the transformer, as executed

  // A reference tensor on the device: f32, or the compute dtype of the policy.
  absl::StatusOr<Tensor> Upload(const std::string& name, DType dtype, const Shape& shape) const;
  absl::StatusOr<std::vector<float>> Download(const Tensor& tensor) const;
  // The transformer's dtype under the policy.
  DType compute() const { return policy == PrecisionPolicy::kReference ? DType::kF32 : DType::kBF16; }
};

using Runner = std::function<absl::Status(const Context& context, Results& results)>;

// The runner of a test id, or null for an id that nobody knows.
Runner FindRunner(const std::string& id);

// One table a network; FindRunner looks through all of them.
const std::map<std::string, Runner>& FusionRunners();
const std::map<std::string, Runner>& AutoencoderRunners();
const std::map<std::string, Runner>& HostRunners();
absl::Status RunPipeline(const Context& context, Results& results);

}  // namespace ovi::golden
