#include "worker/pipeline/math/prompt_format.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ovi {
namespace {

struct Row {
  std::string text;
  std::string tags;   // for the 720 model
  std::string colon;  // for the 960 models and mini-ovi
};

TEST(FormatPrompt, WritesTheTagsOfEachModel) {
  const std::vector<Row> rows = {
      // tests/golden/open/manifest.json, helpers.prompt_format
      {"A <S>hi<E>. Audio: rain and wind", "A <S>hi<E>. <AUDCAP>rain and wind<ENDAUDCAP>",
       "A <S>hi<E>. Audio: rain and wind"},
      {"A <S>hi<E>. <AUDCAP>rain and wind<ENDAUDCAP>", "A <S>hi<E>. <AUDCAP>rain and wind<ENDAUDCAP>",
       "A <S>hi<E>. Audio: rain and wind"},
      {"plain", "plain", "plain"},
      // The sound is everything after the first "Audio:", newlines and a second one included.
      {"x Audio: \t\n\xc2\xa0\xe3\x80\x80 a\nb Audio: c", "x <AUDCAP>a\nb Audio: c<ENDAUDCAP>",
       "x Audio: \t\n\xc2\xa0\xe3\x80\x80 a\nb Audio: c"},
      {"Audio:", "<AUDCAP><ENDAUDCAP>", "Audio:"},
      {"audio: lower case is text", "audio: lower case is text", "audio: lower case is text"},
      // Each pair by itself, the nearest closing tag.
      {"<AUDCAP>a<ENDAUDCAP> b <AUDCAP>c\nd<ENDAUDCAP>e", "<AUDCAP>a<ENDAUDCAP> b <AUDCAP>c\nd<ENDAUDCAP>e",
       "Audio: a b Audio: c\nde"},
      {"<AUDCAP>never closed", "<AUDCAP>never closed", "<AUDCAP>never closed"},
      {"<ENDAUDCAP>x<AUDCAP>", "<ENDAUDCAP>x<AUDCAP>", "<ENDAUDCAP>x<AUDCAP>"},
      {"", "", ""},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(FormatPrompt(row.text, PromptStyle::kAudcapTags), row.tags);
    EXPECT_EQ(FormatPrompt(row.text, PromptStyle::kAudioColon), row.colon);
  }
}

TEST(OutputFileName, IsThePromptWithoutTagsAndItsRun) {
  const auto name = [](std::string_view prompt) {
    return OutputFileName({.prompt = prompt, .height = 704, .width = 1280, .seed = 103, .rank = 0});
  };
  EXPECT_EQ(name("A <S>hi there<E> cat and/or dog"), "A_hi_there_cat_and_or_dog_704x1280_103_0.mp4");
  EXPECT_EQ(name(""), "_704x1280_103_0.mp4");
  EXPECT_EQ(name("../../etc"), ".._.._etc_704x1280_103_0.mp4");
  EXPECT_EQ(name("a < b, <not\nclosed>"), "a_<_b,_<not_closed>_704x1280_103_0.mp4");
  EXPECT_EQ(name(std::string_view("a\0b", 3)), "a_b_704x1280_103_0.mp4");
  EXPECT_EQ(name(std::string(60, 'x')), std::string(50, 'x') + "_704x1280_103_0.mp4");
}

TEST(OutputFileName, CutsBetweenCharacters) {
  std::string prompt;
  std::string fifty;
  for (int i = 0; i < 60; ++i) prompt += "\u00e9";
  for (int i = 0; i < 50; ++i) fifty += "\u00e9";
  EXPECT_EQ(OutputFileName({.prompt = prompt, .height = 1, .width = 2, .seed = -3, .rank = 4}),
            fifty + "_1x2_-3_4.mp4");
}

}  // namespace
}  // namespace ovi
