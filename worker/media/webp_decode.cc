// WebP by libwebp: lossy and lossless still images.
#include <webp/decode.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/media/codecs.h"

namespace ovi {
namespace {

const char* Reason(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return "the file is cut short";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses a feature libwebp lacks";
    default:
      return "its data are broken";
  }
}

absl::Status Failure(const std::string& name, VP8StatusCode code) {
  if (code == VP8_STATUS_OUT_OF_MEMORY) {
    return absl::ResourceExhaustedError(absl::StrCat(name, ": no memory to decode the WebP image"));
  }
  return DamagedImage(name, "WebP", Reason(code));
}

}  // namespace

bool IsWebp(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 12 && std::memcmp(bytes.data(), "RIFF", 4) == 0 &&
         std::memcmp(bytes.data() + 8, "WEBP", 4) == 0;
}

absl::StatusOr<Image> DecodeWebp(std::span<const std::uint8_t> bytes, const std::string& name,
                                 const ImageLimits& limits) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0)
    return absl::InternalError("libwebp is of another version than its header");
  const VP8StatusCode header = WebPGetFeatures(bytes.data(), bytes.size(), &config.input);
  if (header != VP8_STATUS_OK) return Failure(name, header);
  OVI_RETURN_IF_ERROR(CheckImageSize(name, config.input.height, config.input.width, limits));
  if (config.input.has_animation != 0) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": an animated WebP; give a still image"));
  }

  OVI_ASSIGN_OR_RETURN(Image image, AllocateImage(name, config.input.height, config.input.width));
  config.output.colorspace = MODE_RGB;  // alpha is dropped
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.rgb.data();
  config.output.u.RGBA.stride = static_cast<int>(image.width * 3);
  config.output.u.RGBA.size = image.rgb.size();
  const VP8StatusCode decoded = WebPDecode(bytes.data(), bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (decoded != VP8_STATUS_OK) return Failure(name, decoded);
  return image;
}

}  // namespace ovi
