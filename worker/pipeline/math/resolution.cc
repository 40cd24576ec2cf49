#include "worker/pipeline/math/resolution.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

absl::Status CheckSize(FrameSize size, std::int64_t area) {
  const auto good_side = [](std::int64_t side) { return side >= 1 && side <= kFrameSideMax; };
  if (!good_side(size.height) || !good_side(size.width)) {
    return absl::InvalidArgumentError(absl::StrCat("resolution: height=", size.height, " width=", size.width,
                                                   ", both must be in 1..", kFrameSideMax));
  }
  if (area < 1 || area > kFrameAreaMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("resolution: area=", area, ", must be in 1..", kFrameAreaMax));
  }
  return absl::OkStatus();
}

// Python's round(): to nearest, ties to even. nearbyint does that in the default rounding mode, which we
// never change.
double RoundHalfEven(double x) {
  return std::nearbyint(x);
}

std::int64_t SnapSide(double pixels) {
  return std::max(kTokenPixels,
                  static_cast<std::int64_t>(RoundHalfEven(pixels / double{kTokenPixels})) * kTokenPixels);
}

double ScaleToArea(FrameSize size, std::int64_t area) {
  return std::sqrt(static_cast<double>(area) / static_cast<double>(size.height * size.width));
}

}  // namespace

absl::StatusOr<FrameSize> SnapResolution(FrameSize request, std::int64_t area) {
  OVI_RETURN_IF_ERROR(CheckSize(request, area));
  const double scale = ScaleToArea(request, area);
  // Rounded to whole pixels first, then to tokens: the original rounds twice, and so lands elsewhere near a
  // tie.
  return FrameSize{SnapSide(RoundHalfEven(static_cast<double>(request.height) * scale)),
                   SnapSide(RoundHalfEven(static_cast<double>(request.width) * scale))};
}

absl::StatusOr<FrameSize> FirstFrameSize(FrameSize image, std::int64_t area) {
  OVI_RETURN_IF_ERROR(CheckSize(image, area));
  const double aspect = static_cast<double>(image.width) / static_cast<double>(image.height);
  const std::int64_t tokens = std::max<std::int64_t>(1, area / (kTokenPixels * kTokenPixels));
  const double rows = std::max(1.0, RoundHalfEven(std::sqrt(static_cast<double>(tokens) / aspect)));

  const double scale = ScaleToArea(image, area);
  FrameSize best{};
  std::pair<std::int64_t, double> best_distance{};
  const auto consider = [&](FrameSize size) {
    const std::int64_t area_off = std::abs(size.height * size.width - area);
    const double aspect_off =
        std::abs(static_cast<double>(size.width) / static_cast<double>(size.height) - aspect);
    const std::pair<std::int64_t, double> distance{area_off, aspect_off};
    if (best.height != 0 && distance >= best_distance) return;  // the first of equals stays
    best = size;
    best_distance = distance;
  };
  for (int offset = -3; offset <= 3; ++offset) {
    const double p = std::max(1.0, rows + offset);
    const double q = std::max(1.0, RoundHalfEven(p * aspect));
    consider({static_cast<std::int64_t>(p) * kTokenPixels, static_cast<std::int64_t>(q) * kTokenPixels});
  }
  consider({SnapSide(static_cast<double>(image.height) * scale),
            SnapSide(static_cast<double>(image.width) * scale)});
  return best;
}

}  // namespace ovi
