#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "worker/job/prompts.h"

namespace ovi {
namespace {

TEST(PromptList, TakesItsTwoColumnsByName) {
  const auto prompts =
      ParsePromptList("id,image_path, text_prompt\n1,a.png,\"A cat, asleep\"\n2,,A dog\n", "p.csv");
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  ASSERT_EQ(prompts->size(), 2u);
  EXPECT_EQ((*prompts)[0].item, (PromptItem{"A cat, asleep", "a.png"}));
  EXPECT_EQ((*prompts)[1].item, (PromptItem{"A dog", ""}));
  EXPECT_EQ((*prompts)[1].place, "p.csv:3");
}

TEST(PromptList, IsSeparatedByTabsInATsv) {
  const auto prompts = ParsePromptList("text_prompt\timage_path\nA cat, asleep\ta.png\n", "p.TSV");
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_EQ((*prompts)[0].item, (PromptItem{"A cat, asleep", "a.png"}));
}

TEST(PromptList, RefusesWithFileAndLine) {
  const struct {
    const char* name;
    std::string text;
    const char* message;
  } kCases[] = {
      {"empty", "", "p.csv: is empty"},
      {"no column", "\nprompt\nA cat\n", "p.csv:2: the first row has no column \"text_prompt\""},
      {"only the header", "text_prompt\n", "p.csv: has no prompt below its first row"},
      {"column twice", "text_prompt,text_prompt\na,b\n", "p.csv:1: column \"text_prompt\" is there twice"},
      {"blank prompt", "text_prompt,x\nA cat,1\n  ,2\n", "p.csv:3: text_prompt is empty"},
      {"long prompt", "text_prompt\n" + std::string(65'537, 'x') + "\n",
       "p.csv:2: text_prompt has 65537 bytes, more than the 65536 allowed"},
      {"image path with a line end", "text_prompt,image_path\nA cat,\"a\nb\"\n",
       "p.csv:2: image_path holds a control"},
  };
  for (const auto& row : kCases) {
    const auto prompts = ParsePromptList(row.text, "p.csv");
    ASSERT_FALSE(prompts.ok()) << row.name;
    EXPECT_THAT(std::string(prompts.status().message()), ::testing::StartsWith(row.message)) << row.name;
  }
}

}  // namespace
}  // namespace ovi
