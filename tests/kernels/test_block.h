// Memory for kernel tests: an arena over ordinary host memory, and tensors filled from numbers.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/arena.h"
#include "kernels/dtype.h"

namespace ovi::test {

// A large block asks for huge pages, as the CPU backend's own blocks do: tile kernels lose half of their
// speed without them.
class TestBlock final : public DeviceBlock {
 public:
  explicit TestBlock(std::int64_t bytes) : bytes_(bytes) {
    const std::size_t alignment = bytes < (4 << 20) ? 64 : 2 << 20;
    const std::size_t rounded = (static_cast<std::size_t>(bytes) + alignment - 1) / alignment * alignment;
    base_ = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
    OVI_CHECK(base_ != nullptr);
    if (alignment > 64) madvise(base_, rounded, MADV_HUGEPAGE);
  }
  ~TestBlock() override { std::free(base_); }
  TestBlock(const TestBlock&) = delete;
  TestBlock& operator=(const TestBlock&) = delete;

  std::byte* base() const override { return base_; }
  std::int64_t bytes() const override { return bytes_; }
  void Discard(std::int64_t, std::int64_t) override {}

 private:
  std::byte* base_ = nullptr;
  std::int64_t bytes_;
};

inline Arena MakeTestArena(std::int64_t bytes) {
  return Arena(std::make_unique<TestBlock>(bytes));
}

// A tensor that owns its memory, in an allocation of its own so that sanitizers see reads past its end.
class OwnedTensor {
 public:
  OwnedTensor() = default;
  OwnedTensor(DType dtype, const Shape& shape) : tensor_{nullptr, dtype, shape} {
    const auto bytes = static_cast<std::size_t>(tensor_.bytes());
    memory_.reset(static_cast<std::byte*>(std::calloc(bytes == 0 ? 1 : bytes, 1)));
    tensor_.data = memory_.get();
  }
  OwnedTensor(DType dtype, const Shape& shape, const std::vector<float>& values) : OwnedTensor(dtype, shape) {
    OVI_CHECK(static_cast<std::int64_t>(values.size()) == shape.elements());
    for (std::int64_t i = 0; i < shape.elements(); ++i) set(i, values[static_cast<std::size_t>(i)]);
  }

  const Tensor& tensor() const { return tensor_; }
  HostTensor host() const { return {tensor_.data, tensor_.dtype, tensor_.shape}; }
  std::int64_t elements() const { return tensor_.elements(); }

  float get(std::int64_t i) const {
    switch (tensor_.dtype) {
      case DType::kBF16:
        return ToFloat(reinterpret_cast<const BFloat16*>(tensor_.data)[i]);
      case DType::kI8:
        return static_cast<float>(reinterpret_cast<const std::int8_t*>(tensor_.data)[i]);
      default:
        OVI_CHECK(tensor_.dtype == DType::kF32);
        return reinterpret_cast<const float*>(tensor_.data)[i];
    }
  }
  void set(std::int64_t i, float value) {
    switch (tensor_.dtype) {
      case DType::kBF16:
        reinterpret_cast<BFloat16*>(tensor_.data)[i] = ToBFloat16(value);
        return;
      case DType::kI8:
        reinterpret_cast<std::int8_t*>(tensor_.data)[i] = static_cast<std::int8_t>(value);
        return;
      default:
        OVI_CHECK(tensor_.dtype == DType::kF32);
        reinterpret_cast<float*>(tensor_.data)[i] = value;
    }
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  Tensor tensor_;
};

}  // namespace ovi::test
