// How the arithmetic between two network passes rounds: as float32, or as the original runs it on bf16
// tensors.
#pragma once

#include "kernels/dtype.h"

namespace ovi {

enum class Rounding {
  kFloat32,         // nothing is rounded beyond float32: the better choice, and what the reference data holds
  kBf16AsExecuted,  // the result of every tensor operation is rounded to bf16, to follow the original step by
                    // step
};

// Calls body(round), where round(float) is the rounding of one tensor operation. Two instances of the loop in
// `body` are compiled, so that neither carries a branch.
template <typename Body>
void WithRounding(Rounding rounding, const Body& body) {
  if (rounding == Rounding::kFloat32) {
    body([](float x) { return x; });
  } else {
    body([](float x) { return RoundToBFloat16(x); });
  }
}

}  // namespace ovi
