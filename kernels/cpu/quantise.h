// int8 with one scale a row (kernels/quantise.h), for activations and for weights on their way in.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/quantise.h"

namespace ovi::cpu {

absl::Status RunQuantiseRows(const QuantiseRows& op);

// Quantises one row of `count` floats and returns its scale. A row that is not finite gets a scale that is
// not.
float QuantiseRow(const float* x, std::int64_t count, std::int8_t* q);

}  // namespace ovi::cpu
