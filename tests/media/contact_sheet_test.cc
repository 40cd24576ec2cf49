// Contact sheet, poster, and the rounding of saved samples.
#include "worker/media/contact_sheet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "worker/media/samples.h"

namespace ovi {
namespace {

using testing::ElementsAre;

Image Plain(std::int64_t height, std::int64_t width, std::uint8_t value) {
  return {height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3), value)};
}

std::uint8_t At(const Image& image, std::int64_t y, std::int64_t x) {
  return image.rgb[static_cast<std::size_t>((y * image.width + x) * 3)];
}

TEST(ContactSheet, ChoosesEvenlySpacedFramesWithBothEnds) {
  EXPECT_THAT(ContactSheetFrames(121, 8), ElementsAre(0, 17, 34, 51, 69, 86, 103, 120));
  EXPECT_THAT(ContactSheetFrames(5, 8), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(ContactSheetFrames(121, 1), ElementsAre(0));
  EXPECT_THAT(ContactSheetFrames(1, 8), ElementsAre(0));
  EXPECT_EQ(PosterFrame(1), 0);
  EXPECT_EQ(PosterFrame(121), 40);
}

TEST(ContactSheet, LaysFramesOutInRows) {
  const std::vector<Image> frames = {Plain(10, 20, 100), Plain(10, 20, 150), Plain(10, 20, 200)};
  const Image sheet = ContactSheet(frames, 2);
  EXPECT_EQ(sheet.width, 3 * 4 + 2 * 20);
  EXPECT_EQ(sheet.height, 3 * 4 + 2 * 10);
  EXPECT_EQ(At(sheet, 4, 4), 100);
  EXPECT_EQ(At(sheet, 13, 23), 100);
  EXPECT_EQ(At(sheet, 4, 28), 150);
  EXPECT_EQ(At(sheet, 18, 4), 200);
  for (const auto& [y, x] : {std::pair{0, 0}, {3, 30}, {14, 10}, {10, 24}, {20, 40}})
    EXPECT_EQ(At(sheet, y, x), 0x18);
}

TEST(ContactSheet, ShrinksByMeans) {
  Image checkers = Plain(4, 8, 0);
  for (std::int64_t i = 0; i < 4 * 8; ++i) {
    for (std::int64_t c = 0; c < 3; ++c) {
      checkers.rgb[static_cast<std::size_t>(i * 3 + c)] = (i + i / 8) % 2 == 0 ? 0 : 200;
    }
  }
  const Image half = Shrunk(checkers.rgb, 4, 8, 4);
  EXPECT_EQ(half.height, 2);
  EXPECT_EQ(half.width, 4);
  EXPECT_EQ(half.rgb, Plain(2, 4, 100).rgb);
  EXPECT_EQ(Shrunk(checkers.rgb, 4, 8, 8).rgb, checkers.rgb);
  for (const std::int64_t width : {1, 3, 5, 7}) {
    const Image odd = Shrunk(Plain(1, 8, 77).rgb, 1, 8, width);
    EXPECT_EQ(odd.rgb, Plain(1, width, 77).rgb);
  }
}

TEST(ContactSheetBuilder, KeepsTheChosenFramesOfAStream) {
  constexpr std::int64_t kFrames = 25, kHeight = 64, kWidth = 640;
  ContactSheetBuilder builder(kFrames, kHeight, kWidth, {.tiles = 4, .columns = 2, .tile_width_max = 320});
  for (std::int64_t frame = 0; frame < kFrames;) {  // in chunks of 1, 4, 4, ... as the decoder makes them
    std::vector<std::uint8_t> chunk;
    for (int i = 0; i < (frame == 0 ? 1 : 4); ++i) {
      const Image plain = Plain(kHeight, kWidth, static_cast<std::uint8_t>(10 * (frame + i)));
      chunk.insert(chunk.end(), plain.rgb.begin(), plain.rgb.end());
    }
    builder.AddFrames(chunk);
    frame += frame == 0 ? 1 : 4;
  }
  const Image sheet = builder.Sheet();
  EXPECT_EQ(sheet.width, 3 * 4 + 2 * 320);
  EXPECT_EQ(sheet.height, 3 * 4 + 2 * 32);
  EXPECT_EQ(At(sheet, 10, 10), 0);
  EXPECT_EQ(At(sheet, 10, 400), 80);
  EXPECT_EQ(At(sheet, 50, 10), 160);
  EXPECT_EQ(At(sheet, 50, 400), 240);
  EXPECT_EQ(builder.Poster().width, kWidth);
  EXPECT_EQ(At(builder.Poster(), 0, 0), 80);
}

TEST(ContactSheetBuilder, ShowsWhatThereIsOfAVideoThatEndedEarly) {
  ContactSheetBuilder builder(100, 2, 2);
  builder.AddFrames(Plain(2, 2, 50).rgb);
  EXPECT_EQ(builder.Sheet().width, 4 + 2 + 4);
  EXPECT_EQ(At(builder.Poster(), 0, 0), 50);
}

TEST(Samples, AreCutOffTowardsZeroAsTheOriginalDoes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(PixelToByte(-1.0f), 0);
  EXPECT_EQ(PixelToByte(1.0f), 255);
  EXPECT_EQ(PixelToByte(0.0f), 127);     // 127.5
  EXPECT_EQ(PixelToByte(0.9999f), 254);  // 254.99
  EXPECT_EQ(PixelToByte(-1.5f), 0);
  EXPECT_EQ(PixelToByte(INFINITY), 255);
  EXPECT_EQ(PixelToByte(nan), 0);
  EXPECT_EQ(SampleToInt16(1.0f), 32767);
  EXPECT_EQ(SampleToInt16(-1.0f), -32767);
  EXPECT_EQ(SampleToInt16(-3.0f), -32767);
  EXPECT_EQ(SampleToInt16(0.9f / 32767.0f), 0);
  EXPECT_EQ(SampleToInt16(-0.9f / 32767.0f), 0);
  EXPECT_EQ(SampleToInt16(-1.5f / 32767.0f), -1);
  EXPECT_EQ(SampleToInt16(nan), 0);
}

TEST(Samples, TurnPlanarVideoIntoFrames) {
  // (3, 2 frames, 1 x 2): red 0.., green, blue
  const std::vector<float> video = {-1, 1, -1, 1, 1, 1, 1, 1, -1, -1, 0, 0};
  EXPECT_THAT(VideoToRgb(video, 2, 2), ElementsAre(0, 255, 0, 255, 255, 0, 0, 255, 127, 255, 255, 127));
}

}  // namespace
}  // namespace ovi
