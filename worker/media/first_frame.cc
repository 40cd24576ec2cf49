#include "worker/media/first_frame.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "kernels/dtype.h"

namespace ovi {
namespace {

// One output coordinate: which 4 inputs it mixes, and how.
struct Taps {
  std::array<std::int64_t, 4> index;
  std::array<float, 4> weight;
};

// The cubic convolution kernel for distances up to 1 and from 1 to 2.
constexpr float kA = -0.75f;
float Near(float x) {
  return ((kA + 2.0f) * x - (kA + 3.0f)) * x * x + 1.0f;
}
float Far(float x) {
  return ((kA * x - 5.0f * kA) * x + 8.0f * kA) * x - 4.0f * kA;
}

// Positions in float32, as torch has them. Equal extents give weights 0, 1, 0, 0: no change at all.
std::vector<Taps> MakeTaps(std::int64_t extent_in, std::int64_t extent_out) {
  const float scale = static_cast<float>(extent_in) / static_cast<float>(extent_out);
  std::vector<Taps> all(static_cast<std::size_t>(extent_out));
  for (std::int64_t i = 0; i < extent_out; ++i) {
    const float position = scale * (static_cast<float>(i) + 0.5f) - 0.5f;
    const float below = std::floor(position);
    const float t = position - below;
    Taps& taps = all[static_cast<std::size_t>(i)];
    for (std::int64_t k = 0; k < 4; ++k) {
      taps.index[static_cast<std::size_t>(k)] =
          std::clamp<std::int64_t>(static_cast<std::int64_t>(below) - 1 + k, 0, extent_in - 1);
    }
    taps.weight = {Far(t + 1.0f), Near(t), Near(1.0f - t), Far((1.0f - t) + 1.0f)};
  }
  return all;
}

float Mix(const Taps& taps, float x0, float x1, float x2, float x3) {
  return x0 * taps.weight[0] + x1 * taps.weight[1] + x2 * taps.weight[2] + x3 * taps.weight[3];
}

template <typename Sample>
std::vector<float> Resize(const Sample* rgb, FrameSize from, FrameSize to, bool bf16_rounding) {
  OVI_CHECK(from.height > 0 && from.width > 0 && to.height > 0 && to.width > 0);
  const std::vector<Taps> columns = MakeTaps(from.width, to.width), rows = MakeTaps(from.height, to.height);
  const auto rounded = [&](float x) { return bf16_rounding ? RoundToBFloat16(x) : x; };

  // Rows are resized sideways when first needed. The 4 rows an output row mixes are consecutive or the
  // border's, so row y may live in slot y % 4: nothing of the size of the image is held besides the image.
  const auto width_in = static_cast<std::size_t>(from.width), width_out = static_cast<std::size_t>(to.width);
  std::array<std::vector<float>, 4> slots;
  slots.fill(std::vector<float>(width_out));
  std::vector<float> row_in(width_in);

  std::vector<float> out(3 * static_cast<std::size_t>(to.height) * width_out);
  float* next = out.data();
  for (std::size_t c = 0; c < 3; ++c) {
    std::array<std::int64_t, 4> slot_row{-1, -1, -1, -1};
    const auto row_at = [&](std::int64_t y) -> const float* {
      const auto slot = static_cast<std::size_t>(y % 4);
      if (slot_row[slot] != y) {
        const Sample* from_row = rgb + static_cast<std::size_t>(y) * width_in * 3 + c;
        for (std::size_t x = 0; x < width_in; ++x) {
          row_in[x] = rounded(rounded(static_cast<float>(from_row[x * 3]) / 255.0f) * 2.0f - 1.0f);
        }
        for (std::size_t x = 0; x < width_out; ++x) {
          const auto at = [&](std::size_t k) {
            return row_in[static_cast<std::size_t>(columns[x].index[k])];
          };
          slots[slot][x] = Mix(columns[x], at(0), at(1), at(2), at(3));
        }
        slot_row[slot] = y;
      }
      return slots[slot].data();
    };
    for (const Taps& taps : rows) {
      const float* r0 = row_at(taps.index[0]);
      const float* r1 = row_at(taps.index[1]);
      const float* r2 = row_at(taps.index[2]);
      const float* r3 = row_at(taps.index[3]);
      for (std::size_t x = 0; x < width_out; ++x) *next++ = rounded(Mix(taps, r0[x], r1[x], r2[x], r3[x]));
    }
  }
  return out;
}

}  // namespace

std::vector<float> FirstFrameTensor(const Image& image, FrameSize size, bool bf16_rounding) {
  OVI_CHECK(static_cast<std::int64_t>(image.rgb.size()) == image.height * image.width * 3);
  return Resize(image.rgb.data(), {image.height, image.width}, size, bf16_rounding);
}

std::vector<float> FirstFrameTensor(std::span<const float> rgb, FrameSize from, FrameSize size,
                                    bool bf16_rounding) {
  OVI_CHECK(static_cast<std::int64_t>(rgb.size()) == from.height * from.width * 3);
  return Resize(rgb.data(), from, size, bf16_rounding);
}

}  // namespace ovi
