// First frames from the user's files: PNG, JPEG and WebP to 8-bit RGB.
//
// Colours are as PIL's Image.convert("RGB") makes them, since the model's authors prepared their images with
// it: alpha is dropped (not composited), palettes and grey are expanded, colour profiles, gamma chunks and
// the EXIF orientation are ignored. 16-bit samples keep their upper byte. A CMYK JPEG is taken as Adobe
// writes it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

// Row-major, 3 bytes (red, green, blue) a pixel.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> rgb;
};

// Checked before pixels are allocated. Decoding takes 3 bytes a pixel, for a progressive JPEG 9.
struct ImageLimits {
  std::int64_t file_bytes_max = std::int64_t{64} << 20;
  std::int64_t side_max = 16384;
  std::int64_t pixels_max = 64'000'000;
  double aspect_max = 16.0;  // longer side / shorter side
};

// Decodes by content, whatever the name's ending; `name` only appears in errors. INVALID_ARGUMENT for
// anything that is not a whole, sound still image within the limits, RESOURCE_EXHAUSTED when memory for it is
// missing.
absl::StatusOr<Image> DecodeImage(std::span<const std::uint8_t> bytes, std::string_view name,
                                  const ImageLimits& limits = {});

// As DecodeImage, from a regular file; what cannot be read is an error of ReadSmallFile.
absl::StatusOr<Image> LoadImage(const std::string& path, const ImageLimits& limits = {});

// Writes an 8-bit RGB PNG. `path` appears only when complete (see PartFile, whose errors are returned).
absl::Status WritePng(const std::string& path, const Image& image);

}  // namespace ovi
