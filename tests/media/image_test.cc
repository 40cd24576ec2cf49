// Image files: what is read, which colours come out, what is refused and in which words.
#include "worker/media/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "tests/media/test_images.h"

namespace ovi {
namespace {

using testing::HasSubstr;

std::string Message(const absl::StatusOr<Image>& image) {
  return std::string(image.status().message());
}

Bytes TextBytes(const std::string& text) {
  return Bytes(text.begin(), text.end());
}

PngSpec RgbPng(const Image& image) {
  return {
      .width = static_cast<int>(image.width), .height = static_cast<int>(image.height), .rows = image.rgb};
}

TEST(DecodeImage, ReadsEveryKindOfPng) {
  struct Case {
    const char* name;
    PngSpec spec;
    Bytes rgb;
  };
  const Case cases[] = {
      {"rgb", {2, 1, 8, 2, false, {1, 2, 3, 250, 251, 252}}, {1, 2, 3, 250, 251, 252}},
      {"alpha is dropped, not composited",
       {2, 1, 8, 6, false, {1, 2, 3, 0, 4, 5, 6, 128}},
       {1, 2, 3, 4, 5, 6}},
      {"grey", {2, 1, 8, 0, false, {7, 200}}, {7, 7, 7, 200, 200, 200}},
      {"grey with alpha", {2, 1, 8, 4, false, {7, 0, 200, 9}}, {7, 7, 7, 200, 200, 200}},
      {"1 bit grey", {3, 1, 1, 0, false, {0b10100000}}, {255, 255, 255, 0, 0, 0, 255, 255, 255}},
      {"4 bit grey", {2, 1, 4, 0, false, {0x1f}}, {17, 17, 17, 255, 255, 255}},
      {"16 bit keeps the upper byte", {1, 1, 16, 2, false, {1, 255, 2, 0, 3, 128}}, {1, 2, 3}},
      {"palette", {3, 1, 8, 3, false, {1, 0, 1}, {9, 8, 7, 6, 5, 4}}, {6, 5, 4, 9, 8, 7, 6, 5, 4}},
      {"transparent palette", {2, 1, 8, 3, false, {1, 0}, {9, 8, 7, 6, 5, 4}, {0, 0}}, {6, 5, 4, 9, 8, 7}},
      {"2 bit palette", {2, 1, 2, 3, false, {0b01000000}, {9, 8, 7, 6, 5, 4}}, {6, 5, 4, 9, 8, 7}},
      {"interlaced", {2, 2, 8, 0, true, {1, 2, 3, 4}}, {1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4}},
  };
  for (const Case& c : cases) {
    const auto image = DecodeImage(MakePng(c.spec), "x.png");
    ASSERT_TRUE(image.ok()) << c.name << ": " << image.status();
    EXPECT_EQ(image->rgb, c.rgb) << c.name;
    EXPECT_EQ(image->width, c.spec.width) << c.name;
    EXPECT_EQ(image->height, c.spec.height) << c.name;
  }
}

TEST(DecodeImage, ReadsBaselineAndProgressiveAndGreyJpeg) {
  const Image gradient = Gradient(40, 24);
  Bytes grey;
  for (std::size_t i = 0; i < gradient.rgb.size(); i += 3) grey.push_back(gradient.rgb[i]);
  for (const JpegKind kind : {JpegKind::kRgb, JpegKind::kProgressive, JpegKind::kGrey}) {
    const auto image =
        DecodeImage(MakeJpeg(kind, 40, 24, kind == JpegKind::kGrey ? grey : gradient.rgb), "x.jpg");
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_EQ(image->rgb.size(), gradient.rgb.size());
    for (std::size_t i = 0; i < gradient.rgb.size(); ++i) {
      // Blue is a saw tooth here, which the halved colour resolution of JPEG blurs.
      if (kind != JpegKind::kGrey && i % 3 == 2) continue;
      const int expected = kind == JpegKind::kGrey ? grey[i / 3] : gradient.rgb[i];
      ASSERT_NEAR(image->rgb[i], expected, 24) << i;
    }
  }
}

TEST(DecodeImage, TakesCmykJpegAsAdobeStoresIt) {
  // Stored inverted: 255 - ink. Here cyan ink 100, black ink 55, so red is (255 - 100) * (255 - 55) / 255.
  Bytes samples;
  for (int i = 0; i < 16 * 16; ++i) samples.insert(samples.end(), {155, 255, 255, 200});
  const auto image = DecodeImage(MakeJpeg(JpegKind::kCmyk, 16, 16, samples), "x.jpg");
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_NEAR(image->rgb[0], 122, 2);
  EXPECT_NEAR(image->rgb[1], 200, 2);
  EXPECT_NEAR(image->rgb[2], 200, 2);
}

TEST(DecodeImage, ReadsWebpAndDropsItsAlpha) {
  const auto image = DecodeImage(MakeWebp(2, 1, {1, 2, 3, 128, 250, 251, 252, 255}), "x.webp");
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->rgb, (Bytes{1, 2, 3, 250, 251, 252}));
}

TEST(DecodeImage, GoesByContentNotByName) {
  EXPECT_TRUE(DecodeImage(MakeWebp(1, 1, {1, 2, 3, 255}), "named.png").ok());
}

TEST(DecodeImage, RefusesWhatIsNoImage) {
  EXPECT_EQ(Message(DecodeImage({}, "a.png")), "a.png: the file is empty");
  for (const char* text : {"hello, this is text", "GIF89a......", "\x89PNG", "RIFF....WAVE", "\xff\xd8"}) {
    EXPECT_EQ(Message(DecodeImage(TextBytes(text), "a.png")), "a.png: not a PNG, JPEG or WebP image");
  }
}

// A PNG header of any size, followed by nothing.
Bytes PngHeader(std::uint32_t width, std::uint32_t height) {
  Bytes file = MakePng(RgbPng(Gradient(1, 1)));
  for (std::size_t i = 0; i < 4; ++i) {
    file[16 + i] = static_cast<std::uint8_t>(width >> (24 - 8 * i));
    file[20 + i] = static_cast<std::uint8_t>(height >> (24 - 8 * i));
  }
  return file;
}

TEST(DecodeImage, RefusesSizesOutsideTheLimitsBeforeTakingMemory) {
  struct Case {
    std::uint32_t width, height;
    const char* part;
  };
  const Case cases[] = {
      {0, 0, "0x0 (width x height), it has no pixels"},
      {16, 0, "16x0 (width x height), it has no pixels"},
      {100000, 1, "100000x1 (width x height), a side may have side_max=16384 pixels"},
      {0xffffffff, 0xffffffff,
       "4294967295x4294967295 (width x height), a side may have side_max=16384 pixels"},
      {16384, 16384, "16384x16384 (width x height), 268435456 pixels; pixels_max=64000000"},
      {1700, 100, "1700x100 (width x height), longer than aspect_max=16 times its shorter side"},
  };
  for (const Case& c : cases) {
    const auto image = DecodeImage(PngHeader(c.width, c.height), "big.png");
    EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Message(image), std::string("big.png: the image is ") + c.part);
  }
}

TEST(DecodeImage, AppliesTheLimitsToEveryFormat) {
  const ImageLimits small{.side_max = 16};
  const Image gradient = Gradient(20, 10);
  Bytes rgba;
  for (std::size_t i = 0; i < gradient.rgb.size(); ++i) {
    rgba.push_back(gradient.rgb[i]);
    if (i % 3 == 2) rgba.push_back(255);
  }
  for (const Bytes& file :
       {MakePng(RgbPng(gradient)), MakeJpeg(JpegKind::kRgb, 20, 10, gradient.rgb), MakeWebp(20, 10, rgba)}) {
    EXPECT_TRUE(DecodeImage(file, "x").ok());
    EXPECT_EQ(Message(DecodeImage(file, "x", small)),
              "x: the image is 20x10 (width x height), a side may have side_max=16 pixels");
    EXPECT_THAT(Message(DecodeImage(file, "x", {.file_bytes_max = 10})), HasSubstr("file_bytes_max=10"));
  }
}

TEST(DecodeImage, RefusesFilesCutShortAnywhere) {
  const Image gradient = Gradient(40, 24);
  Bytes rgba;
  for (std::size_t i = 0; i < gradient.rgb.size(); ++i) {
    rgba.push_back(gradient.rgb[i]);
    if (i % 3 == 2) rgba.push_back(255);
  }
  struct Case {
    const char* name;
    Bytes file;
  };
  const Case cases[] = {
      {"x.png", MakePng(RgbPng(gradient))},
      {"x.jpg", MakeJpeg(JpegKind::kRgb, 40, 24, gradient.rgb)},
      {"progressive.jpg", MakeJpeg(JpegKind::kProgressive, 40, 24, gradient.rgb)},
      {"x.webp", MakeWebp(40, 24, rgba)},
  };
  for (const Case& c : cases) {
    ASSERT_TRUE(DecodeImage(c.file, c.name).ok()) << c.name;
    for (std::size_t bytes = 0; bytes < c.file.size(); ++bytes) {
      const auto image = DecodeImage(std::span(c.file).first(bytes), c.name);
      ASSERT_FALSE(image.ok()) << c.name << " cut to " << bytes << " of " << c.file.size();
      ASSERT_EQ(Message(image).substr(0, std::strlen(c.name)), c.name);
    }
  }
}

TEST(DecodeImage, RefusesDamagedPixels) {
  const Image gradient = Gradient(40, 24);
  Bytes png = MakePng(RgbPng(gradient));
  png[png.size() / 2] ^= 0x55;
  EXPECT_THAT(Message(DecodeImage(png, "x.png")), HasSubstr("x.png: damaged PNG image: "));
  Bytes jpeg = MakeJpeg(JpegKind::kRgb, 40, 24, gradient.rgb);
  jpeg[jpeg.size() - 100] = 0xff;  // a marker in the middle of the data
  jpeg[jpeg.size() - 99] = 0xd9;
  EXPECT_THAT(Message(DecodeImage(jpeg, "x.jpg")), HasSubstr("x.jpg: damaged JPEG image: "));
}

TEST(DecodeImage, RefusesAJpegThatGoesOverTheImageTooOften) {
  const Bytes file = MakeJpeg(JpegKind::kManyScans, 40, 24, Gradient(40, 24).rgb);
  EXPECT_EQ(Message(DecodeImage(file, "x.jpg")), "x.jpg: damaged JPEG image: more than 100 scans");
}

TEST(DecodeImage, RefusesAnAnimation) {
  Bytes file = TextBytes(std::string("RIFF\x2c\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x0f\0\0\x0f\0\0", 30));
  file.resize(52);
  EXPECT_THAT(Message(DecodeImage(file, "x.webp")), HasSubstr("x.webp: an animated WebP"));
}

TEST(LoadImage, SaysWhatIsWrongWithAPath) {
  EXPECT_EQ(LoadImage(TempPath("nothing.png")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(LoadImage(TempPath("nothing.png"))), HasSubstr("nothing.png"));
  EXPECT_EQ(LoadImage(TempPath("")).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(::mkfifo(TempPath("pipe.png").c_str(), 0600), 0);
  EXPECT_EQ(LoadImage(TempPath("pipe.png")).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WritePng, WritesWhatLoadImageReads) {
  const std::string path = TempPath("round/trip.png");
  ASSERT_EQ(::mkdir(TempPath("round").c_str(), 0700), 0);
  const Image image = Gradient(33, 17);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(WritePng(path, image).ok());  // the second replaces the first
  const auto back = LoadImage(path);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rgb, image.rgb);
  EXPECT_EQ(back->width, 33);
  EXPECT_EQ(FilesIn(TempPath("round")), std::vector<std::string>{"trip.png"});
}

TEST(WritePng, SaysWhyItCannotWrite) {
  const Image image = Gradient(4, 4);
  const absl::Status no_folder = WritePng(TempPath("none/x.png"), image);
  EXPECT_EQ(no_folder.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(no_folder.message()),
              HasSubstr("none/x.png: cannot write it: No such file or directory"));
  EXPECT_THAT(std::string(WritePng(TempPath(""), image).message()), HasSubstr("it is a folder"));
}

}  // namespace
}  // namespace ovi
