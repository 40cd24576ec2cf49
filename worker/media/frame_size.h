// The size of a picture in pixels, height first as everywhere in Ovi.
#pragma once

#include <cstdint>

namespace ovi {

struct FrameSize {
  std::int64_t height = 0;
  std::int64_t width = 0;

  friend bool operator==(const FrameSize&, const FrameSize&) = default;
};

}  // namespace ovi
