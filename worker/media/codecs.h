// The three decoders behind DecodeImage, each knowing one library. Internal to worker/media.
// The bytes start with the signature of the format. Errors as DecodeImage, `name` in front.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/media/image.h"

namespace ovi {

bool IsPng(std::span<const std::uint8_t> bytes);
bool IsJpeg(std::span<const std::uint8_t> bytes);
bool IsWebp(std::span<const std::uint8_t> bytes);

absl::StatusOr<Image> DecodePng(std::span<const std::uint8_t> bytes, const std::string& name,
                                const ImageLimits& limits);
absl::StatusOr<Image> DecodeJpeg(std::span<const std::uint8_t> bytes, const std::string& name,
                                 const ImageLimits& limits);
absl::StatusOr<Image> DecodeWebp(std::span<const std::uint8_t> bytes, const std::string& name,
                                 const ImageLimits& limits);

// What a header says, before anything is allocated for it.
absl::Status CheckImageSize(const std::string& name, std::int64_t height, std::int64_t width,
                            const ImageLimits& limits);

// A black image of a size that passed CheckImageSize.
absl::StatusOr<Image> AllocateImage(const std::string& name, std::int64_t height, std::int64_t width);

// "name: damaged PNG image: reason"
absl::Status DamagedImage(const std::string& name, const char* format, const std::string& reason);

}  // namespace ovi
