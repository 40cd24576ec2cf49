// Any bytes as an image file: DecodeImage never crashes, stays within its limits, and what it gives has its
// size.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "worker/media/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Smaller than the real limits, so that a run is not spent on filling memory.
  const ovi::ImageLimits limits{
      .file_bytes_max = 1 << 20, .side_max = 2048, .pixels_max = 1 << 18, .aspect_max = 64};
  const auto image = ovi::DecodeImage({data, size}, "fuzz", limits);
  if (!image.ok()) {
    OVI_CHECK(!image.status().message().empty());
    return 0;
  }
  OVI_CHECK(image->height > 0 && image->width > 0 && image->height * image->width <= limits.pixels_max);
  OVI_CHECK(static_cast<std::int64_t>(image->rgb.size()) == image->height * image->width * 3);
  return 0;
}
