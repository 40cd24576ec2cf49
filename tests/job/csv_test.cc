#include "worker/job/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ovi {
namespace {

using Cells = std::vector<std::vector<std::string>>;

TEST(Csv, ReadsRfc4180) {
  const struct {
    const char* name;
    std::string text;
    Cells cells;
  } kCases[] = {
      {"empty", "", {}},
      {"one row without its end", "a,b", {{"a", "b"}}},
      {"CRLF", "a,b\r\n1,2\r\n", {{"a", "b"}, {"1", "2"}}},
      {"byte order mark",
       "\xEF\xBB\xBF"
       "a\n",
       {{"a"}}},
      {"blank lines", "\n\na\n \n\r\nb\n\n", {{"a"}, {"b"}}},
      {"empty cells", ",\n,\n", {{"", ""}, {"", ""}}},
      {"quotes", "\"a,b\",\"say \"\"hi\"\"\"\n", {{"a,b", "say \"hi\""}}},
      {"line ends in quotes", "\"a\r\nb\",c\n", {{"a\r\nb", "c"}}},
      {"empty quotes", "\"\",x", {{"", "x"}}},
      {"quote inside a bare cell", "say \"hi\",x", {{"say \"hi\"", "x"}}},
      {"return at the very end", "a\r", {{"a"}}},
  };
  for (const auto& row : kCases) {
    const auto rows = ParseCsv(row.text, ',', "p.csv");
    ASSERT_TRUE(rows.ok()) << row.name << ": " << rows.status();
    Cells cells;
    for (const CsvRow& parsed : *rows) cells.push_back(parsed.cells);
    EXPECT_EQ(cells, row.cells) << row.name;
  }
}

TEST(Csv, TabsSeparateWhenAsked) {
  const auto rows = ParseCsv("a,b\tc\n", '\t', "p.tsv");
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ((*rows)[0].cells, (std::vector<std::string>{"a,b", "c"}));
}

TEST(Csv, CountsLinesInsideQuotes) {
  const auto rows = ParseCsv("h\n\"a\nb\nc\"\nd\n", ',', "p.csv");
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ((*rows)[1].line, 2);
  EXPECT_EQ((*rows)[2].line, 5);
}

TEST(Csv, RefusesWithTheLine) {
  const struct {
    const char* name;
    std::string text;
    const char* message;
  } kCases[] = {
      {"more cells", "a,b\n1,2\n1,2,3\n", "p.csv:3: has 3 cells where the first row has 2"},
      {"fewer cells", "a,b\n1\n", "p.csv:2: has 1 cells where"},
      {"open quote", "a\n\"b\nc\n", "p.csv:2: the quote opened here is never closed"},
      {"text after a quote", "a\n\"b\"c\n", "p.csv:2: text after a closing quote"},
      {"NUL", std::string("a\n\0", 3), "p.csv:2: holds a NUL byte"},
      {"not UTF-8", "a\nb\n\xE9\n", "p.csv:3: is not UTF-8 text"},
      {"columns", std::string(300, ','), "p.csv:1: more than 256 cells"},
  };
  for (const auto& row : kCases) {
    const auto rows = ParseCsv(row.text, ',', "p.csv");
    ASSERT_FALSE(rows.ok()) << row.name;
    EXPECT_THAT(std::string(rows.status().message()), ::testing::StartsWith(row.message)) << row.name;
  }
  std::string many;
  for (int i = 0; i <= kCsvRowsMax; ++i) many += "x\n";
  EXPECT_EQ(ParseCsv(many, ',', "p.csv").status().message(), "p.csv:10002: more than 10001 rows");
}

}  // namespace
}  // namespace ovi
