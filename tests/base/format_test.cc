// The words and numbers people see while jobs run.
#include "base/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace ovi {
namespace {

TEST(Format, WritesTimes) {
  const struct {
    double seconds;
    const char* text;
  } rows[] = {{0, "0:00"},         {0.49, "0:00"},    {7, "0:07"},           {59.5, "1:00"}, {754, "12:34"},
              {3599.6, "1:00:00"}, {3723, "1:02:03"}, {360000, "100:00:00"}, {-5, "0:00"}};
  for (const auto& row : rows) EXPECT_EQ(FormatSeconds(row.seconds), row.text) << row.seconds;
}

TEST(Format, WritesTimesThatAreNone) {
  EXPECT_EQ(FormatSeconds(std::numeric_limits<double>::quiet_NaN()), "0:00");
  EXPECT_EQ(FormatSeconds(-std::numeric_limits<double>::infinity()), "0:00");
  EXPECT_EQ(FormatSeconds(std::numeric_limits<double>::infinity()), FormatSeconds(1e9));
}

TEST(Format, DrawsTheBar) {
  const struct {
    StepProgress progress;
    const char* text;
  } rows[] = {
      {{"encode", 0, 1, 0}, "encode  [............] 0/1"},
      {{"encode", 1, 1, 0}, "encode  [############] 1/1"},
      {{"denoise", 6, 12, 0.125}, "denoise [######......] 6/12  0.12 s/step  ETA 0:01"},
      {{"denoise", 12, 12, 75}, "denoise [############] 12/12  75.00 s/step  ETA 0:00"},
      {{"decode", 1, 31, 90}, "decode  [............] 1/31  90.00 s/step  ETA 45:00"},
      {{"decode", 0, 0, 0}, "decode  [............] 0/0"},
      {{"decode", 7, 2, 0}, "decode  [############] 7/2"},
      {{"decode", -1, 2, 0}, "decode  [............] -1/2"},
      {{"decode", 1, -2, 0}, "decode  [............] 1/-2"},
      {{"denoise", 2'000'000'000, 2'000'000'000, 0}, "denoise [############] 2000000000/2000000000"},
  };
  for (const auto& row : rows) EXPECT_EQ(FormatBar(row.progress, 12), row.text);
}

TEST(Format, DrawsTheBarOfBytes) {
  const std::int64_t gib = std::int64_t{1} << 30;
  EXPECT_EQ(FormatByteBar({"convert", 3 * gib, 12 * gib, 40}, 12),
            "convert [###.........] 3.0 GiB of 12.0 GiB  ETA 0:40");
  EXPECT_EQ(FormatByteBar({"convert", 0, 512, 0}, 12), "convert [............] 0 B of 512 B");
  EXPECT_EQ(FormatByteBar({"convert", 600, 512, 0}, 12), "convert [############] 600 B of 512 B");
}

TEST(Format, WritesBytes) {
  const struct {
    std::int64_t bytes;
    const char* text;
  } rows[] = {{0, "0 B"},
              {1023, "1023 B"},
              {1024, "1.0 KiB"},
              {14 << 20, "14.0 MiB"},
              {(std::int64_t{3} << 30) / 2, "1.5 GiB"},
              {std::int64_t{80} << 30, "80.0 GiB"}};
  for (const auto& row : rows) EXPECT_EQ(FormatBytes(row.bytes), row.text);
}

TEST(Format, KeepsForeignTextOnOneLine) {
  EXPECT_EQ(OneLine("a\nb\tc\x1b[31md\x7f"), "a b c [31md ");
  EXPECT_EQ(OneLine("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(OneLine("caf\xc3\xa9s", 4), "caf...") << "no half characters";
  EXPECT_EQ(OneLine("caf\xc3\xa9s", 5), "caf\xc3\xa9...");
  EXPECT_EQ(OneLine("cafe", 4), "cafe");
  EXPECT_EQ(OneLine("", 4), "");
  EXPECT_EQ(OneLine("a\xc2\x9b"
                    "2J\xc2\xa9"),
            "a  2J\xc2\xa9")
      << "U+009B begins an escape sequence, U+00A9 does not";
}

TEST(Format, CountsColumns) {
  const struct {
    const char* text;
    int columns;
  } rows[] = {{"", 0},
              {"cafe", 4},
              {"caf\xc3\xa9", 4},
              {"cafe\xcc\x81", 4},              // a combining accent
              {"\xe7\x8c\xab\xe3\x81\x8c", 4},  // two wide characters
              {"\xed\x95\x9c!", 3},             // Hangul
              {"\xf0\x9f\x90\xb1", 2},          // an emoji
              {"\xd0\xba\xd0\xbe\xd1\x82", 3},  // Cyrillic
              {"\xff\xfe", 2},                  // no UTF-8
              {"a\xe7\x8c", 3}};                // cut inside a character
  for (const auto& row : rows) EXPECT_EQ(DisplayWidth(row.text), row.columns) << row.text;
}

TEST(Format, CutsToTheWidth) {
  const struct {
    const char* text;
    int columns;
    const char* cut;
  } rows[] = {{"a red circle", 12, "a red circle"},
              {"a red circle", 11, "a red ci..."},
              {"a red circle", 3, "..."},
              {"a red circle", 2, ".."},
              {"a red circle", 0, ""},
              {"a red circle", -1, ""},
              {"caf\xc3\xa9 noir", 7, "caf\xc3\xa9..."},
              {"\xe7\x8c\xab\xe7\x8c\xab\xe7\x8c\xab", 6, "\xe7\x8c\xab\xe7\x8c\xab\xe7\x8c\xab"},
              {"\xe7\x8c\xab\xe7\x8c\xab\xe7\x8c\xab", 5, "\xe7\x8c\xab..."},
              {"\xe7\x8c\xab\xe7\x8c\xab\xe7\x8c\xab", 4, "..."}};
  for (const auto& row : rows) EXPECT_EQ(CutToWidth(row.text, row.columns), row.cut) << row.columns;
}

}  // namespace
}  // namespace ovi
