// A clip put together from strips of its frames, in host memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/tensor.h"
#include "worker/pipeline/math/resolution.h"
#include "worker/pipeline/stages.h"

namespace ovi {

class ClipAssembly {
 public:
  ClipAssembly(FrameSize size, std::int64_t frames) : size_(size), frames_(frames) {}

  // Frames of `shape` (F, rows, W, 3) as bytes and, where there are any, as numbers.
  void Put(std::span<const std::uint8_t> rgb, std::span<const float> pixels, const Shape& shape,
           const FramePlace& place);

  // (frames, H, W, 3), once every part has been put.
  std::span<const std::uint8_t> rgb() const { return rgb_; }
  std::span<const float> pixels() const { return pixels_; }

 private:
  template <typename T>
  void PutValues(std::span<const T> values, const Shape& shape, const FramePlace& place, std::vector<T>& to);

  FrameSize size_;
  std::int64_t frames_;
  std::vector<std::uint8_t> rgb_;
  std::vector<float> pixels_;
};

}  // namespace ovi
