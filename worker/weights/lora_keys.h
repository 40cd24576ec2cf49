// Which tensors of a model an adapter's file changes, and how, from names and shapes alone. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/weights/check_tensors.h"
#include "worker/weights/weight_source.h"

namespace ovi {

// A change of one tensor of the model; the other names are those of tensors in the adapter's file.
//   low rank: W += strength * alpha / rank * up @ down, convolutions flattened to (out, in * kernel)
//   in full:  W += strength * diff
struct LoraDelta {
  std::string target;
  std::string down;   // (rank, in) or (rank, in, kernel...), 1 <= rank <= the target's larger side
  std::string up;     // (out, rank), perhaps with more extents of 1
  std::string alpha;  // "": alpha is the rank
  std::string diff;   // the target's shape, extents of 1 aside; then the three above are ""
};

struct LoraMatch {
  std::vector<LoraDelta> deltas;       // at least one, sorted by target, each target once
  std::size_t matched = 0;             // tensors of the file that are part of a delta
  std::vector<std::string> unmatched;  // tensors of the file that are not, sorted
};

// `file`: an adapter's tensors. Names are understood as lora_names.h says. Errors are INVALID_ARGUMENT and
// name the tensor, not the file: a kind of adapter that is not supported, half a pair, a tensor changed
// twice, a shape that does not fit (with both shapes, and the other tower's tensor where that would fit), a
// type that is no floating point, or no tensor of the model named at all.
//
// Adapters of peft do not say in the file whether they are rank-stabilised (alpha / sqrt(rank)). One loader
// in use takes every file with peft's `base_model.model.` prefix for that; peft writes this prefix always, so
// ordinary adapters come out sqrt(rank) times too strong there. Here alpha / rank holds for all, and who has
// a rank-stabilised adapter gives the factor as its strength.
absl::StatusOr<LoraMatch> MatchLora(const std::vector<TensorInfo>& file,
                                    const std::vector<TensorSpec>& model);

}  // namespace ovi
