// Widens weights of any stored type to float32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/tensor.h"

namespace ovi {

// Exact for every float type and for integers up to 2^24; larger integers are rounded to nearest. Those of a
// quantised matrix (HostTensor::row_scale) are scaled, which rounds once. The data need not be aligned.
std::vector<float> ToFloats(const HostTensor& tensor);

// Elements [first_element, first_element + out.size()) in row-major order, which must be inside the tensor.
void ToFloats(const HostTensor& tensor, std::int64_t first_element, std::span<float> out);

}  // namespace ovi
