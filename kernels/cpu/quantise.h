// One scale a row: int8 (kernels/quantise.h) for activations and weights on their way in, e4m3 for weights.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/dtype.h"
#include "kernels/quantise.h"

namespace ovi::cpu {

absl::Status RunQuantiseRows(const QuantiseRows& op);

// Quantises one row of `count` floats and returns its scale. A row that is not finite gets a scale that is
// not.
float QuantiseRow(const float* x, std::int64_t count, std::int8_t* q);
// The same to e4m3: scale = max|x| / 448, rounded to nearest even.
float QuantiseRowE4M3(const float* x, std::int64_t count, std::uint8_t* q);

}  // namespace ovi::cpu
