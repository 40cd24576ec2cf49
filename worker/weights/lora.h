// LoRA adapters: opened, held against a model, and merged into its weights as they are read.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// What an adapter adds to one tensor of the model: factor * up @ down, or factor * diff.
struct LoraChange {
  HostTensor down, up;  // no data where `diff` has some
  HostTensor diff;
  float factor = 0;  // strength, times alpha / rank for a pair
};

// An adapter that fits a model. Its file stays mapped while a copy of the adapter lives.
struct LoraAdapter {
  std::string path;
  double strength = 1;
  std::shared_ptr<const WeightSource> file;
  std::map<std::string, LoraChange, std::less<>> changes;  // by the model's tensor
  std::size_t matched = 0;                                 // tensors of the file that are part of a change
  std::vector<std::string> unmatched;                      // and those that are not
};

// Reads the whole file once. NOT_FOUND for a missing file; INVALID_ARGUMENT, naming file and tensor, for what
// MatchLora refuses, and for values that no adapter has: NaN, infinity, more than 65,504 (half precision's
// largest) in a matrix or 65,536 as alpha.
absl::StatusOr<LoraAdapter> OpenLora(const std::string& path, double strength,
                                     const std::vector<TensorSpec>& model);

// The same of a file that is open.
absl::StatusOr<LoraAdapter> MakeLora(const std::shared_ptr<const WeightSource>& file, double strength,
                                     const std::vector<TensorSpec>& model);

// "style.safetensors: 720 of 732 tensors used, 360 of the model's changed".
std::string DescribeMatch(const LoraAdapter& adapter);

// What to tell a user about tensors without effect, in one line with the first of them; "" when there are
// none.
std::string UnmatchedWarning(const LoraAdapter& adapter);

// `base` with the adapters merged in, in their order: Find computes base + factor * up @ down in f32, and
// returns f32, for the network to round to its own format once. Tensors that no adapter changes are those of
// `base`. Nothing is kept: each Find of a changed tensor computes it anew, and holds no other.
//
// `base` has the tensors of the model that the adapters were opened for, plain or quantised with scales. Find
// refuses to change integers without (INVALID_ARGUMENT).
std::unique_ptr<WeightSource> MergeLoras(std::unique_ptr<WeightSource> base,
                                         std::vector<LoraAdapter> adapters);

}  // namespace ovi
