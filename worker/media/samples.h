// From the networks' float outputs to the integers that are saved, exactly as the original rounds: towards
// zero.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ovi {

// A pixel value of -1..1 as (v + 1) / 2 * 255 in float32, cut off. Outside values are clamped; NaN is black.
inline std::uint8_t PixelToByte(float v) {
  const float clamped = v > -1.0f ? (v < 1.0f ? v : 1.0f) : -1.0f;
  return static_cast<std::uint8_t>((clamped + 1.0f) / 2.0f * 255.0f);
}

// An audio sample of -1..1 as a * 32767 in float32, cut off. Outside values are clamped; NaN is silence.
inline std::int16_t SampleToInt16(float a) {
  if (a != a) return 0;
  const float clamped = a > -1.0f ? (a < 1.0f ? a : 1.0f) : -1.0f;
  return static_cast<std::int16_t>(clamped * 32767.0f);
}

// `video` is (3, frames, height, width) in -1..1, planar; the result (frames, height, width, 3), as the
// writer of MP4 files takes it. `pixels` is height * width.
inline std::vector<std::uint8_t> VideoToRgb(std::span<const float> video, std::int64_t frames,
                                            std::int64_t pixels) {
  std::vector<std::uint8_t> rgb(video.size());
  const std::int64_t channel = frames * pixels;
  for (std::int64_t c = 0; c < 3; ++c) {
    const float* from = video.data() + c * channel;
    for (std::int64_t i = 0; i < channel; ++i)
      rgb[static_cast<std::size_t>(i * 3 + c)] = PixelToByte(from[i]);
  }
  return rgb;
}

}  // namespace ovi
