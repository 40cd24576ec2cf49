#include "worker/media/contact_sheet.h"

#include <algorithm>

#include "base/check.h"

namespace ovi {
namespace {

constexpr std::int64_t kGap = 4;            // pixels
constexpr std::uint8_t kBackground = 0x18;  // nearly black, so a black frame still shows its edge

}  // namespace

Image ContactSheet(std::span<const Image> frames, int columns) {
  OVI_CHECK(!frames.empty() && columns > 0);
  const auto count = static_cast<std::int64_t>(frames.size());
  const std::int64_t across = std::min<std::int64_t>(columns, count), down = (count + across - 1) / across;
  const std::int64_t height = frames[0].height, width = frames[0].width;
  Image sheet{kGap + down * (height + kGap), kGap + across * (width + kGap), {}};
  sheet.rgb.assign(static_cast<std::size_t>(sheet.height * sheet.width * 3), kBackground);
  for (std::int64_t i = 0; i < count; ++i) {
    const Image& frame = frames[static_cast<std::size_t>(i)];
    OVI_CHECK(frame.height == height && frame.width == width);
    const std::int64_t top = kGap + i / across * (height + kGap), left = kGap + i % across * (width + kGap);
    for (std::int64_t y = 0; y < height; ++y) {
      std::copy_n(frame.rgb.begin() + y * width * 3, width * 3,
                  sheet.rgb.begin() + ((top + y) * sheet.width + left) * 3);
    }
  }
  return sheet;
}

std::vector<std::int64_t> ContactSheetFrames(std::int64_t frame_count, int tiles) {
  OVI_CHECK(frame_count > 0 && tiles > 0);
  const std::int64_t count = std::min<std::int64_t>(tiles, frame_count);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < count; ++i) {
    chosen.push_back(count == 1 ? 0 : (2 * i * (frame_count - 1) + count - 1) / (2 * (count - 1)));
  }
  return chosen;
}

std::int64_t PosterFrame(std::int64_t frame_count) {
  return frame_count / 3;
}

Image Shrunk(std::span<const std::uint8_t> rgb, std::int64_t height, std::int64_t width,
             std::int64_t width_max) {
  OVI_CHECK(height > 0 && width > 0 && width_max > 0);
  OVI_CHECK(static_cast<std::int64_t>(rgb.size()) == height * width * 3);
  if (width <= width_max) return {height, width, {rgb.begin(), rgb.end()}};
  Image small{std::max<std::int64_t>(1, (height * width_max + width / 2) / width), width_max, {}};
  small.rgb.reserve(static_cast<std::size_t>(small.height * small.width * 3));
  for (std::int64_t y = 0; y < small.height; ++y) {
    const std::int64_t top = y * height / small.height, bottom = (y + 1) * height / small.height;
    for (std::int64_t x = 0; x < small.width; ++x) {
      const std::int64_t left = x * width / small.width, right = (x + 1) * width / small.width;
      // Never empty: small is the smaller in both directions, but for a row less than a pixel high.
      const std::int64_t end = std::max(bottom, top + 1), count = (end - top) * (right - left);
      std::int64_t sums[3] = {};
      for (std::int64_t v = top; v < end; ++v) {
        for (std::int64_t u = left; u < right; ++u) {
          for (std::int64_t c = 0; c < 3; ++c)
            sums[c] += rgb[static_cast<std::size_t>((v * width + u) * 3 + c)];
        }
      }
      for (const std::int64_t sum : sums)
        small.rgb.push_back(static_cast<std::uint8_t>((sum + count / 2) / count));
    }
  }
  return small;
}

ContactSheetBuilder::ContactSheetBuilder(std::int64_t frame_count, std::int64_t height, std::int64_t width,
                                         const ContactSheetOptions& options)
    : frame_count_(frame_count),
      height_(height),
      width_(width),
      options_(options),
      chosen_(ContactSheetFrames(frame_count, options.tiles)) {}

void ContactSheetBuilder::AddFrames(std::span<const std::uint8_t> rgb) {
  const auto frame_bytes = static_cast<std::size_t>(height_ * width_ * 3);
  OVI_CHECK(frame_bytes > 0 && rgb.size() % frame_bytes == 0);
  for (; !rgb.empty(); rgb = rgb.subspan(frame_bytes), ++next_frame_) {
    OVI_CHECK(next_frame_ < frame_count_);
    const std::span<const std::uint8_t> frame = rgb.first(frame_bytes);
    if (std::binary_search(chosen_.begin(), chosen_.end(), next_frame_)) {
      tiles_.push_back(Shrunk(frame, height_, width_, options_.tile_width_max));
    }
    // The first frame stands in until the poster's own arrives.
    if (next_frame_ == 0 || next_frame_ == PosterFrame(frame_count_)) {
      poster_ = {height_, width_, {frame.begin(), frame.end()}};
    }
  }
}

Image ContactSheetBuilder::Sheet() const {
  return ContactSheet(tiles_, options_.columns);
}

const Image& ContactSheetBuilder::Poster() const {
  OVI_CHECK(next_frame_ > 0);
  return poster_;
}

}  // namespace ovi
