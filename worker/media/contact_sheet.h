// What a video looks like at a glance: a contact sheet of evenly spaced frames, and one frame as poster.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/media/image.h"

namespace ovi {

// The frames side by side, left to right and top to bottom, `columns` a row, with thin dark gaps between and
// around them. At least one frame, all of one size; cells without a frame stay dark.
Image ContactSheet(std::span<const Image> frames, int columns);

// `tiles` of `frame_count` frames, evenly spaced, the first and the last among them; all where there are no
// more.
std::vector<std::int64_t> ContactSheetFrames(std::int64_t frame_count, int tiles);

// The frame for the poster: a third in. The scene has settled by then, and an image-to-video poster shows
// more than the image the user gave.
std::int64_t PosterFrame(std::int64_t frame_count);

// At most `width_max` wide, aspect kept, each pixel the mean of those it covers; as it is where that is no
// change.
Image Shrunk(std::span<const std::uint8_t> rgb, std::int64_t height, std::int64_t width,
             std::int64_t width_max);

struct ContactSheetOptions {
  int tiles = 8;
  int columns = 4;
  std::int64_t tile_width_max = 320;
};

// Fed frame by frame while the video is decoded; keeps only the small tiles and one whole frame.
// Thread-compatible.
class ContactSheetBuilder {
 public:
  ContactSheetBuilder(std::int64_t frame_count, std::int64_t height, std::int64_t width,
                      const ContactSheetOptions& options = {});

  // One or more whole frames, the next ones in order, 3 bytes a pixel; never more than frame_count in all.
  void AddFrames(std::span<const std::uint8_t> rgb);

  // After at least one frame; of a video that ended early, what there is. Poster() is in full size.
  Image Sheet() const;
  const Image& Poster() const;

 private:
  std::int64_t frame_count_, height_, width_;
  ContactSheetOptions options_;
  std::vector<std::int64_t> chosen_;  // ascending
  std::int64_t next_frame_ = 0;
  std::vector<Image> tiles_;
  Image poster_;
};

}  // namespace ovi
