#include "base/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/yaml_value.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<YamlNode> node = ParseYaml(text, "f.yaml");
  if (node.ok()) return "accepted";
  EXPECT_EQ(node.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(node.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(Yaml, KeepsOrderLinesAndQuoting) {
  const absl::StatusOr<YamlNode> root = ParseYaml(
      "\xEF\xBB\xBF"
      "b: 5\r\na: '5'\r\nc:\r\nd: [1, x]\r\n",
      "f.yaml");
  ASSERT_TRUE(root.ok()) << root.status();
  ASSERT_EQ(root->entries.size(), 4u);
  EXPECT_EQ(root->entries[0].key, "b");
  EXPECT_TRUE(root->entries[0].value.plain);
  EXPECT_FALSE(root->entries[1].value.plain);
  EXPECT_EQ(root->entries[1].value.scalar, "5");
  EXPECT_EQ(root->entries[2].value.kind, YamlNode::Kind::kNull);
  EXPECT_EQ(root->entries[2].value.line, 3);
  EXPECT_EQ(root->entries[3].line, 4);
  EXPECT_EQ(root->entries[3].value.items[1].scalar, "x");
}

TEST(Yaml, ReadsBlockTextWithQuotesAndUtf8) {
  const absl::StatusOr<YamlNode> root =
      ParseYaml("a: \xC3\xA9\nb: |\n  He said: \"hi\n  there.\nc: 'it''s'\n", "f.yaml");
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->entries[1].value.scalar, "He said: \"hi\nthere.\n");
  EXPECT_EQ(root->entries[2].value.scalar, "it's");
}

TEST(Yaml, AnEmptyTextIsNull) {
  for (const char* text : {"", "# only a comment\n", "---\n", "~"}) {
    const absl::StatusOr<YamlNode> root = ParseYaml(text, "f.yaml");
    ASSERT_TRUE(root.ok()) << root.status();
    EXPECT_EQ(root->kind, YamlNode::Kind::kNull) << text;
  }
}

TEST(Yaml, ExpandsAliases) {
  const absl::StatusOr<YamlNode> root = ParseYaml("a: &x [1, 2]\nb: *x\n", "f.yaml");
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->entries[1].value.items.size(), 2u);
  EXPECT_EQ(root->entries[1].value.line, 2);
}

TEST(Yaml, RefusesHazardsWithTheirLine) {
  const struct {
    const char* name;
    std::string text;
    const char* message;
  } kCases[] = {
      {"duplicate key", "a: 1\nb: 2\na: 3\n", "f.yaml:3: key \"a\" is given twice, first on line 1"},
      {"duplicate key in braces", "a: {x: 1, x: 2}", "f.yaml:1: key \"x\" is given twice"},
      {"second document", "a: 1\n---\nb: 2\n", "f.yaml:2: a second document"},
      {"indentation that ends the document", "  a: 1\nb: 2\n", "f.yaml:2: a second document"},
      {"list as key", "a: 1\n? [b]\n: 2\n", "f.yaml:2: a key must be plain text"},
      {"colon in text", "a: 1\nb: a cat. Audio: meow\n",
       "f.yaml:2: cannot be read as \"key: value\"; text that contains"},
      {"tab", "a:\n\tb: 1\n", "f.yaml:2: cannot be read"},
      {"open single quote", "a: 1\nb: 'x\nc: 2\n", "f.yaml:2: the quote opened here is never closed"},
      {"open double quote after UTF-8", "a: \"\xC3\xA9\"\nb: \"x\\\"\nc: 2\n", "f.yaml:2: the quote"},
      {"open quote with anchor", "a: &q 'x\n", "f.yaml:1: the quote"},
      {"open bracket", "a: [1, 2\n", "f.yaml:2: not valid YAML"},
      {"tag", "a: !!int 5\n", "f.yaml:1: YAML tags"},
      {"unknown alias", "a: 1\nb: *x\n", "f.yaml:2: not valid YAML"},
      {"alias in itself", "a: &x [*x]\n", "f.yaml:1: an alias inside the value"},
      {"control character", "a: 1\nb: \x04\n", "f.yaml:2: holds a control character: byte 0x04"},
      {"NUL", std::string("a: 1\0", 5), "f.yaml:1: holds a control character: byte 0x00"},
      {"Latin-1", "a: 1\n\nb: \xE9t\xE9\n", "f.yaml:3: is not UTF-8 text: byte 0xe9"},
      {"UTF-16",
       std::string("\xFF\xFE"
                   "a\0",
                   4),
       "f.yaml:1: is not UTF-8"},
  };
  for (const auto& row : kCases) EXPECT_THAT(ErrorOf(row.text), StartsWith(row.message)) << row.name;
}

TEST(Yaml, RefusesWhatWouldTakeTheMachineDown) {
  const auto repeat = [](const std::string& part, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += part;
    return text;
  };
  EXPECT_THAT(ErrorOf(repeat("[", 100'000)), HasSubstr("more than 32 levels"));
  EXPECT_THAT(ErrorOf(repeat("{a: ", 100'000)), HasSubstr("more than 32 levels"));
  EXPECT_THAT(ErrorOf(repeat("- ", 100'000)), HasSubstr("more than 32 levels"));
  EXPECT_THAT(ErrorOf(repeat("? ", 100'000)), HasSubstr("more than 32 levels"));
  EXPECT_THAT(ErrorOf(repeat("- 1\n", 20'000)), HasSubstr("more than 10000 values"));
  EXPECT_THAT(ErrorOf("a: " + std::string(1 << 20, 'x')), HasSubstr("more than the 1048576 allowed"));

  std::string bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 10; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [", repeat(absl::StrCat("*a", i - 1, ", "), 8), "*a", i - 1,
                    "]\n");
  }
  EXPECT_THAT(ErrorOf(bomb), HasSubstr("more than 10000 values"));
  EXPECT_THAT(ErrorOf("a: &x " + std::string(500'000, 'x') + "\nb: [" + repeat("*x, ", 20) + "]\n"),
              HasSubstr("bytes of text after aliases"));
}

TEST(YamlValue, IsStrictAboutNumbers) {
  const auto scalar = [](const std::string& text, bool plain) {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.scalar = text;
    node.plain = plain;
    return node;
  };
  EXPECT_EQ(*YamlInteger(scalar("-1", true), -1, 9), -1);
  EXPECT_EQ(*YamlUint64(scalar("18446744073709551615", true)), 18446744073709551615u);
  EXPECT_EQ(*YamlNumber(scalar("4.5e0", true), 0, 100), 4.5);
  for (const char* word :
       {"", "1_000", "0x10", "010", "+5", "5 ", "1e3", "5.0", "ten", "99999999999999999999"}) {
    EXPECT_FALSE(YamlInteger(scalar(word, true), 0, 1'000'000).ok()) << word;
  }
  for (const char* word : {"nan", "inf", "-inf", ".nan", ".inf", "1e999", "1,5", "4.0x", "01.5"}) {
    EXPECT_FALSE(YamlNumber(scalar(word, true), -1e300, 1e300).ok()) << word;
  }
  EXPECT_FALSE(YamlUint64(scalar("18446744073709551616", true)).ok());
  EXPECT_EQ(YamlInteger(scalar("5", false), 0, 9).status().message(),
            "must be a whole number from 0 to 9, got the text \"5\"");
  EXPECT_FALSE(YamlBool(scalar("yes", true)).ok());
  EXPECT_FALSE(YamlText(scalar("5", true), 10).ok());
  EXPECT_FALSE(YamlText(scalar(std::string("a\0b", 3), false), 10).ok());
  EXPECT_FALSE(YamlText(scalar("\xFF", false), 10).ok());
  EXPECT_LT(Describe(scalar("0." + std::string(1'000'000, '1'), true)).size(), 100u);
}

}  // namespace
}  // namespace ovi
