// What a model runs on: a device's stream and memory, and the number format of its arithmetic.
#pragma once

#include <functional>

#include "kernels/backend.h"
#include "worker/model/matrix_format.h"

namespace ovi {

// kReference computes everything in f32. kAsExecuted keeps the original's formats and rounding points: bf16
// weights and activations in the transformer, the text encoder and the audio path, f32 activations in the
// video autoencoder.
enum class PrecisionPolicy { kReference, kAsExecuted };

// Number format of one network under a policy.
struct NumberFormat {
  DType compute = DType::kF32;  // of activations and matrices
  bool bf16_weights = false;    // weight values are rounded to bf16 whatever they are stored and computed in
  // Of the matrices in the transformer's blocks; a quantised or compressed one needs `compute` bf16. Those
  // outside, a sixteenth of the real model, meet few rows and matter to all of them: they stay as they are.
  MatrixFormat block_matrices = {.dtype = compute};
};

// Of the networks that the original runs in bf16 throughout: transformer, text encoder, audio path.
constexpr NumberFormat Bf16NetworkFormat(PrecisionPolicy policy) {
  if (policy == PrecisionPolicy::kReference) return {};
  return {.compute = DType::kBF16, .bf16_weights = true, .block_matrices = {DType::kBF16}};
}

// Borrowed, not owned. Thread-compatible, like the stream.
struct Runtime {
  Backend& backend;
  Stream& stream;
  Arena& arena;
};

// Asked between the blocks of a network; its error ends the pass and is returned. May be empty.
using BetweenBlocks = std::function<absl::Status()>;

}  // namespace ovi
