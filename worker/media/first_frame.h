// The first frame as the video VAE takes it: RGB scaled to -1..1 and resized to the run's size.
//
// Resize: bicubic with a = -0.75, half-pixel centres (align_corners = false), no antialiasing, taps clamped
// at the border, no clamp of the result; the aspect is not preserved by a crop. This is torch's
// interpolate(mode="bicubic").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/media/frame_size.h"
#include "worker/media/image.h"

namespace ovi {

// (3, size.height, size.width), planar. Both sizes are positive.
// bf16_rounding: round as the original does (policy as_executed): value / 255 to bfloat16, x * 2 - 1 to
// bfloat16, the resized value, summed in float32, to bfloat16. Otherwise float32 throughout (policy
// reference).
std::vector<float> FirstFrameTensor(const Image& image, FrameSize size, bool bf16_rounding);

// The same for RGB given as floats of 0..255, row-major, 3 a pixel.
std::vector<float> FirstFrameTensor(std::span<const float> rgb, FrameSize from, FrameSize size,
                                    bool bf16_rounding);

}  // namespace ovi
