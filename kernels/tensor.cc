#include "kernels/tensor.h"

#include <algorithm>

#include "base/check.h"

namespace ovi {

Shape::Shape(std::initializer_list<std::int64_t> extents) {
  *this = FromRange(extents.begin(), static_cast<int>(extents.size()));
}

Shape Shape::FromRange(const std::int64_t* extents, int rank) {
  OVI_CHECK(rank >= 0 && rank <= kMaxRank);
  Shape shape;
  shape.rank_ = rank;
  std::copy_n(extents, rank, shape.extents_.begin());
  return shape;
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) product *= extents_[static_cast<std::size_t>(axis)];
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ &&
         std::equal(extents_.begin(), extents_.begin() + rank_, other.extents_.begin());
}

std::string Shape::ToString() const {
  if (rank_ == 0) return "scalar";
  std::string text;
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += 'x';
    text += std::to_string((*this)[axis]);
  }
  return text;
}

Tensor Tensor::Reshaped(const Shape& new_shape) const {
  OVI_CHECK(new_shape.elements() == elements());
  return {data, dtype, new_shape};
}

Tensor Tensor::Slice(std::int64_t begin, std::int64_t count) const {
  OVI_CHECK(shape.rank() > 0 && begin >= 0 && count >= 0 && begin + count <= shape[0]);
  const std::int64_t stride = shape[0] == 0 ? 0 : elements() / shape[0];
  Tensor slice = *this;
  slice.data += begin * stride * ElementBytes(dtype);
  slice.shape.set(0, count);
  return slice;
}

}  // namespace ovi
