// The words and numbers people see while a clip is made.
#include "worker/cli/reporter.h"

#include <gtest/gtest.h>

#include "worker/cli/one_line.h"

namespace ovi {
namespace {

TEST(Reporter, WritesTimes) {
  const struct {
    double seconds;
    const char* text;
  } rows[] = {{0, "0:00"},         {0.49, "0:00"},    {7, "0:07"},           {59.5, "1:00"}, {754, "12:34"},
              {3599.6, "1:00:00"}, {3723, "1:02:03"}, {360000, "100:00:00"}, {-5, "0:00"}};
  for (const auto& row : rows) EXPECT_EQ(FormatSeconds(row.seconds), row.text) << row.seconds;
}

TEST(Reporter, DrawsTheBar) {
  const struct {
    Progress progress;
    const char* text;
  } rows[] = {
      {{Stage::kEncode, 0, 1, 0}, "encode  [............] 0/1"},
      {{Stage::kEncode, 1, 1, 0}, "encode  [############] 1/1"},
      {{Stage::kDenoise, 6, 12, 0.125}, "denoise [######......] 6/12  0.12 s/step  ETA 0:01"},
      {{Stage::kDenoise, 12, 12, 75}, "denoise [############] 12/12  75.00 s/step  ETA 0:00"},
      {{Stage::kDecode, 1, 31, 90}, "decode  [............] 1/31  90.00 s/step  ETA 45:00"},
      {{Stage::kDecode, 0, 0, 0}, "decode  [............] 0/0"},
  };
  for (const auto& row : rows) EXPECT_EQ(FormatBar(row.progress, 12), row.text);
}

TEST(Reporter, WritesBytes) {
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

TEST(OneLine, KeepsForeignTextOnOneLine) {
  EXPECT_EQ(OneLine("a\nb\tc\x1b[31md\x7f"), "a b c [31md ");
  EXPECT_EQ(OneLine("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(OneLine("caf\xc3\xa9s", 4), "caf...") << "no half characters";
  EXPECT_EQ(OneLine("caf\xc3\xa9s", 5), "caf\xc3\xa9...");
  EXPECT_EQ(OneLine("cafe", 4), "cafe");
  EXPECT_EQ(OneLine("", 4), "");
}

}  // namespace
}  // namespace ovi
