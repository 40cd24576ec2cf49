// For Validate functions: collects the first broken clause of an op's contract.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/tensor.h"

namespace ovi {

class Contract {
 public:
  explicit Contract(std::string_view op) : op_(op) {}

  void Require(bool condition, std::string_view clause) {
    if (!condition && status_.ok()) {
      status_ =
          absl::InternalError(absl::StrCat(std::string(op_), ": contract broken: ", std::string(clause)));
    }
  }
  // `tensor` has this dtype and shape.
  void Is(const Tensor& tensor, DType dtype, const Shape& shape, std::string_view name) {
    if (tensor.dtype == dtype && tensor.shape == shape && (!tensor.empty() || shape.elements() == 0)) return;
    Require(false, absl::StrCat(std::string(name), " is ", std::string(DTypeName(tensor.dtype)), " ",
                                tensor.shape.ToString(), ", expected ", std::string(DTypeName(dtype)), " ",
                                shape.ToString()));
  }
  void IsFloat(const Tensor& tensor, std::string_view name) {
    Require(tensor.dtype == DType::kF32 || tensor.dtype == DType::kBF16,
            absl::StrCat(std::string(name), " must be F32 or BF16"));
  }
  const absl::Status& status() const { return status_; }

 private:
  std::string_view op_;
  absl::Status status_;
};

}  // namespace ovi
