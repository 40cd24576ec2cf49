#include "base/text.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace ovi {
namespace {

TEST(Text, CountsASwapOfNeighboursAsOneEdit) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("seed", "seed"), 0);
  EXPECT_EQ(EditDistance("", "seed"), 4);
  EXPECT_EQ(EditDistance("seed", ""), 4);
  EXPECT_EQ(EditDistance("sede", "seed"), 1);
  EXPECT_EQ(EditDistance("sampel_steps", "sample_steps"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("ca", "abc"), 3);  // no byte is edited twice
}

TEST(Text, FindsTheNameThatWasMeantOrNone) {
  constexpr std::array<std::string_view, 4> kNames = {"seed", "shift", "sample_steps", "vram_mode"};
  EXPECT_EQ(NearestName("sampel_steps", kNames), "sample_steps");
  EXPECT_EQ(NearestName("samplesteps", kNames), "sample_steps");
  EXPECT_EQ(NearestName("VRAM-MODE", kNames), "vram_mode");
  EXPECT_EQ(NearestName("vram_mod", kNames), "vram_mode");
  EXPECT_EQ(NearestName("temperature", kNames), "");
  EXPECT_EQ(NearestName(std::string(100'000, 'x'), kNames), "");
}

TEST(Text, TellsWellFormedUtf8) {
  for (const char* good :
       {"", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8E\xAC", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(IsValidUtf8(good)) << Quoted(good);
  }
  const struct {
    const char* name;
    std::string text;
    std::size_t offset;
  } kBroken[] = {
      {"lone continuation", "a\x80", 1},
      {"overlong slash", "\xC0\xAF", 0},
      {"overlong three", "\xE0\x80\x80", 0},
      {"surrogate", "ab\xED\xA0\x80", 2},
      {"above U+10FFFF", "\xF4\x90\x80\x80", 0},
      {"cut short", "a\xE2\x82", 1},
      {"0xFF", "\xFF", 0},
      {"overlong four", "\xF0\x80\x80\x80", 0},
  };
  for (const auto& row : kBroken) EXPECT_EQ(FirstInvalidUtf8(row.text), row.offset) << row.name;
}

TEST(Text, QuotesOnOneShortLine) {
  EXPECT_EQ(Quoted("a\nb\x01"), "\"a\\nb\\x01\"");
  EXPECT_EQ(Quoted("\xFF"), "\"\\xff\"");
  EXPECT_EQ(Quoted(std::string(61, 'x')), "\"" + std::string(60, 'x') + "...\"");
}

}  // namespace
}  // namespace ovi
