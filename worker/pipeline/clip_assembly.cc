#include "worker/pipeline/clip_assembly.h"

#include <algorithm>
#include <cstddef>

namespace ovi {

template <typename T>
void ClipAssembly::PutValues(std::span<const T> values, const Shape& shape, const FramePlace& place,
                             std::vector<T>& to) {
  const std::int64_t row = size_.width * 3;
  to.resize(static_cast<std::size_t>(frames_ * size_.height * row));
  const auto part = static_cast<std::size_t>(shape[1] * row);
  for (std::int64_t frame = 0; frame < shape[0]; ++frame) {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(part) * frame;
    const std::int64_t at = ((place.frame + frame) * size_.height + place.row) * row;
    std::copy_n(from, part, to.begin() + at);
  }
}

void ClipAssembly::Put(std::span<const std::uint8_t> rgb, std::span<const float> pixels, const Shape& shape,
                       const FramePlace& place) {
  PutValues(rgb, shape, place, rgb_);
  if (!pixels.empty()) PutValues(pixels, shape, place, pixels_);
}

}  // namespace ovi
