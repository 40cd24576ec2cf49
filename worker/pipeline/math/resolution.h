// The pixel size a video is made at, which is not the size that was asked for: every request is rescaled to
// the model's area and snapped to whole 32x32-pixel tokens. Sizes in pixels. Pure; any thread.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/media/frame_size.h"

namespace ovi {

// Pixels of one token along each axis: VAE stride 16, patch 2.
inline constexpr std::int64_t kTokenPixels = 32;

// Sizes and areas above these are refused, so that no product below leaves the integers a double holds
// exactly.
inline constexpr std::int64_t kFrameSideMax = 1 << 20;
inline constexpr std::int64_t kFrameAreaMax = std::int64_t{1} << 40;

// Text to video: `request` scaled to about `area` pixels with its aspect kept, both sides to the nearest
// multiple of 32, ties to the even multiple as Python's round() has it (720 = 22.5 * 32 becomes 704).
// INVALID_ARGUMENT for a side outside 1..kFrameSideMax or an area outside 1..kFrameAreaMax.
absl::StatusOr<FrameSize> SnapResolution(FrameSize request, std::int64_t area);

// Image to video: the size the first frame is resized to, and with it the video's. Of a handful of multiples
// of 32 the one nearest to `area`, then nearest to the image's aspect. Same errors.
absl::StatusOr<FrameSize> FirstFrameSize(FrameSize image, std::int64_t area);

}  // namespace ovi
