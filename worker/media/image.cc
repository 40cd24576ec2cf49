#include "worker/media/image.h"

#include <algorithm>
#include <new>

#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/status.h"
#include "worker/media/codecs.h"

namespace ovi {

absl::Status CheckImageSize(const std::string& name, std::int64_t height, std::int64_t width,
                            const ImageLimits& limits) {
  const std::string size = absl::StrCat(name, ": the image is ", width, "x", height, " (width x height)");
  if (height <= 0 || width <= 0) return absl::InvalidArgumentError(absl::StrCat(size, ", it has no pixels"));
  const std::int64_t longer = std::max(height, width), shorter = std::min(height, width);
  if (longer > limits.side_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, ", a side may have side_max=", limits.side_max, " pixels"));
  }
  if (height > limits.pixels_max / width) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, ", ", height * width, " pixels; pixels_max=", limits.pixels_max));
  }
  if (static_cast<double>(longer) > limits.aspect_max * static_cast<double>(shorter)) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, ", longer than aspect_max=", limits.aspect_max, " times its shorter side"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Image> AllocateImage(const std::string& name, std::int64_t height, std::int64_t width) {
  try {
    return Image{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3))};
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(name, ": no memory for ", height * width * 3, " bytes of pixels"));
  }
}

absl::Status DamagedImage(const std::string& name, const char* format, const std::string& reason) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": damaged ", format, " image: ", reason));
}

absl::StatusOr<Image> DecodeImage(std::span<const std::uint8_t> bytes, std::string_view name,
                                  const ImageLimits& limits) {
  const std::string owned_name(name);
  if (bytes.empty()) return absl::InvalidArgumentError(absl::StrCat(owned_name, ": the file is empty"));
  if (static_cast<std::int64_t>(bytes.size()) > limits.file_bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(owned_name, ": the file has ", bytes.size(),
                     " bytes, more than file_bytes_max=", limits.file_bytes_max));
  }
  if (IsPng(bytes)) return DecodePng(bytes, owned_name, limits);
  if (IsJpeg(bytes)) return DecodeJpeg(bytes, owned_name, limits);
  if (IsWebp(bytes)) return DecodeWebp(bytes, owned_name, limits);
  return absl::InvalidArgumentError(absl::StrCat(owned_name, ": not a PNG, JPEG or WebP image"));
}

absl::StatusOr<Image> LoadImage(const std::string& path, const ImageLimits& limits) {
  OVI_ASSIGN_OR_RETURN(const std::string bytes, ReadSmallFile(path, limits.file_bytes_max));
  return DecodeImage({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path, limits);
}

}  // namespace ovi
