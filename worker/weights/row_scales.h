// The scales of quantised matrices: tensors of their own in a file, HostTensor::row_scale here.
//
// Of a matrix <module>.weight, stored as F8_E4M3 or I8:
//   <module>.weight_scale    its scale: our own files, and those of Hugging Face libraries
//   <module>.scale_weight    the same: ComfyUI
//   <module>.scale_input, <module>.input_scale, scaled_fp8
//                            ComfyUI's scale of the activations, which we measure instead, and its mark
//                            of such a file: without use here
// A scale is one number, or one a row of the matrix: (N) or (N, 1, ...), F32, BF16 or F16. F8_E4M3 without a
// scale is a plain cast and stays one.
#pragma once

#include "absl/status/status.h"
#include "worker/weights/tensor_table.h"

namespace ovi {

// Puts every scale to its matrix and takes the scales out of the table. Reads all of them.
// INVALID_ARGUMENT, naming the tensor but not the file, for a scale without its matrix, of a matrix that is
// not 8 bit or that has another, of another type or another count, and for one that is negative or not
// finite. RESOURCE_EXHAUSTED as TensorTable::Own.
absl::Status AttachRowScales(TensorTable& table);

}  // namespace ovi
