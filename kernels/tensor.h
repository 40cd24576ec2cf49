// Shapes and views of dense row-major tensors. Views own nothing; whoever made the memory keeps it alive (but
// see HostTensor::owner).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "kernels/dtype.h"

namespace ovi {

// Up to 8 extents, each >= 0. Index arithmetic is 64 bit throughout: at 54,900 tokens one feed-forward
// activation of the large preset has 7.9e8 elements and 3.1e9 bytes.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);  // NOLINT: shapes read best as braces
  static Shape FromRange(const std::int64_t* extents, int rank);

  int rank() const { return rank_; }
  // Extent of axis `axis`; a negative axis counts from the end.
  std::int64_t operator[](int axis) const {
    return extents_[static_cast<std::size_t>(axis < 0 ? rank_ + axis : axis)];
  }
  void set(int axis, std::int64_t extent) {
    extents_[static_cast<std::size_t>(axis < 0 ? rank_ + axis : axis)] = extent;
  }
  std::int64_t elements() const;
  bool operator==(const Shape& other) const;
  std::string ToString() const;  // "3072x48x1x2x2"; "scalar" for rank 0

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

// Device memory. The pointer is an address on the backend's device: only the backend may follow it.
struct Tensor {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;

  bool empty() const { return data == nullptr; }
  std::int64_t elements() const { return shape.elements(); }
  std::int64_t bytes() const { return elements() * ElementBytes(dtype); }
  // The same memory under another shape of as many elements.
  Tensor Reshaped(const Shape& new_shape) const;
  // `count` entries of the first axis from `begin` on.
  Tensor Slice(std::int64_t begin, std::int64_t count) const;
};

// Host memory, read only: a mapped checkpoint tensor, an image, a noise array.
struct HostTensor {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  // Where the values were computed for this tensor alone: keeps them as long as one of its copies. Null for a
  // view.
  std::shared_ptr<const void> owner = nullptr;
  // Of a quantised matrix, (shape[0]) f32 anywhere in memory: an element of row r is scale[r] times what is
  // stored. Null where what is stored is the value.
  const void* row_scale = nullptr;

  std::int64_t elements() const { return shape.elements(); }
  std::int64_t bytes() const { return elements() * ElementBytes(dtype); }
};

}  // namespace ovi
