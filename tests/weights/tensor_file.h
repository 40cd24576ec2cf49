// Builds a safetensors file from values in any float type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "kernels/dtype.h"
#include "tests/weights/weight_files.h"

namespace ovi::test {

class TensorFile {
 public:
  // The values must be exact in `dtype`.
  TensorFile& Add(const std::string& name, const std::vector<std::int64_t>& shape,
                  const std::vector<float>& values, DType dtype = DType::kF32) {
    const std::size_t begin = data_.size();
    for (const float value : values) data_ += Encoded(value, dtype);
    absl::StrAppend(&header_, header_.empty() ? "" : ",", "\"", name, "\":{\"dtype\":\"",
                    std::string(DTypeName(dtype)), "\",\"shape\":[", absl::StrJoin(shape, ","),
                    "],\"data_offsets\":[", begin, ",", data_.size(), "]}");
    return *this;
  }

  std::string bytes() const { return Safetensors(absl::StrCat("{", header_, "}"), data_); }

 private:
  static std::string Encoded(float value, DType dtype) {
    switch (dtype) {
      case DType::kF32:
        return Le(value);
      case DType::kBF16:
        return Le(ToBFloat16(value).bits);
      case DType::kF16:
        return Le(Inverse<std::uint16_t>(value, HalfToFloat));
      case DType::kF8E4M3:
        return Le(Inverse<std::uint8_t>(value, Float8E4M3ToFloat));
      case DType::kU8:
        return Le(static_cast<std::uint8_t>(value));
      case DType::kI64:
        return Le(static_cast<std::int64_t>(value));
      default:
        return Le(static_cast<std::int8_t>(value));
    }
  }

  // The bits that `widen` makes this value of.
  template <typename Bits, typename Widen>
  static Bits Inverse(float value, const Widen& widen) {
    for (std::uint32_t bits = 0; bits < (1U << (8 * sizeof(Bits))); ++bits) {
      if (widen(static_cast<Bits>(bits)) == value) return static_cast<Bits>(bits);
    }
    OVI_CHECK(false);
  }

  std::string header_;
  std::string data_;
};

}  // namespace ovi::test
