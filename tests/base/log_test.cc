#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

const std::string kTime = "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z";

// A log in a file, as the whole process sees it, until the test ends.
class LogTest : public testing::Test {
 protected:
  ~LogTest() override { OVI_CHECK(ConfigureLog({}).ok()); }

  void Configure(LogOptions options) {
    options.file = path_;
    options.to_stderr = false;
    const absl::Status configured = ConfigureLog(options);
    ASSERT_TRUE(configured.ok()) << configured;
  }

  std::vector<std::string> Lines() const {
    std::ifstream file(path_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  // What follows the time in the only line.
  std::string Line() const {
    const std::vector<std::string> lines = Lines();
    if (lines.size() != 1) return "not one line";
    return lines[0].substr(lines[0].find(' ') + 1);
  }

  const TempFolder folder_;
  const std::string path_ = folder_ / "log";
};

TEST_F(LogTest, WritesTimeLevelEventAndFields) {
  Configure({});
  Log(LogLevel::kInfo, "job submitted", {{"job", 12}, {"node", "box-1"}});
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_THAT(Lines()[0], MatchesRegex(kTime + " info job submitted job=12 node=box-1"));
}

TEST_F(LogTest, TakesEveryKindOfValue) {
  Configure({});
  const std::string text = "text";
  const absl::Status status = absl::NotFoundError("gone");
  const char* const pointer = "pointer";
  Log(LogLevel::kInfo, "values",
      {{"negative", std::int64_t{-5}},
       {"most", std::numeric_limits<std::uint64_t>::max()},
       {"size", text.size()},
       {"seconds", 0.25},
       {"yes", true},
       {"text", text},
       {"view", std::string_view(text).substr(1)},
       {"pointer", pointer},
       {"status", status.message()}});
  EXPECT_EQ(
      Line(),
      "info values negative=-5 most=18446744073709551615 size=4 seconds=0.25 yes=true text=text view=ext "
      "pointer=pointer status=gone");
}

TEST_F(LogTest, QuotesWhatWouldBeAmbiguous) {
  struct Case {
    std::string text, written;
  };
  const Case cases[] = {{"", R"("")"},
                        {"two words", R"("two words")"},
                        {"a=b", R"("a=b")"},
                        {R"(say "hi")", R"("say \"hi\"")"},
                        {R"(C:\new)", R"("C:\\new")"},
                        {"line\nend", R"("line\nend")"},
                        {"\x1b[31mred", R"("\x1b[31mred")"},
                        {"broken \xff", R"("broken \xff")"},
                        {std::string("a\0b", 3), R"("a\x00b")"},
                        {"{} {0}", R"("{} {0}")"},
                        {"grüße", "grüße"},
                        {"/var/lib/ovi", "/var/lib/ovi"}};
  Configure({});
  for (const Case& c : cases) Log(LogLevel::kInfo, "x", {{"text", c.text}});
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), std::size(cases));
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_THAT(lines[i], HasSubstr("text=" + cases[i].written));
}

TEST_F(LogTest, KeepsALineALineWhateverItsPartsHold) {
  Configure({});
  Log(LogLevel::kInfo, "event\nforged", {{"name\nforged", "value\nforged"}});
  EXPECT_EQ(Line(), R"(info event\nforged name\nforged="value\nforged")");
}

TEST_F(LogTest, CutsLongValues) {
  Configure({});
  Log(LogLevel::kInfo, "x", {{"tail", std::string(1 << 20, 'y')}});
  EXPECT_EQ(Line(), "info x tail=" + std::string(4096, 'y') + "...");
}

TEST_F(LogTest, NeverWritesASecret) {
  for (const bool json : {false, true}) {
    Configure({.json = json});
    for (const char* name : {"token", "node_token", "secret", "group_secret", "prompt", "negative_prompt",
                             "password", "authorization"}) {
      Log(LogLevel::kInfo, "x", {{name, "hunter2"}});
    }
    Log(LogLevel::kInfo, "x", {{"prompt_bytes", 12}});
  }
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), 18u);
  for (const std::string& line : lines) EXPECT_THAT(line, Not(HasSubstr("hunter2")));
  EXPECT_THAT(lines[0], HasSubstr("token=(hidden)"));
  EXPECT_THAT(lines[8], HasSubstr("prompt_bytes=12"));
  EXPECT_THAT(lines[9], HasSubstr("\"token\":\"(hidden)\""));
}

TEST_F(LogTest, WritesJsonThatParses) {
  Configure({.json = true});
  Log(LogLevel::kWarning, "odd \"event\"",
      {{"job", 12},
       {"most", std::numeric_limits<std::uint64_t>::max()},
       {"seconds", 0.5},
       {"nothing", std::numeric_limits<double>::quiet_NaN()},
       {"no", false},
       {"text", "a \"b\"\n\x1b \xff"}});
  ASSERT_EQ(Lines().size(), 1u);
  const nlohmann::json line = nlohmann::json::parse(Lines()[0]);
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["event"], "odd \"event\"");
  EXPECT_EQ(line["job"], 12);
  EXPECT_EQ(line["most"], std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(line["seconds"], 0.5);
  EXPECT_TRUE(line["nothing"].is_null());
  EXPECT_EQ(line["no"], false);
  EXPECT_EQ(line["text"], "a \"b\"\n\x1b \xEF\xBF\xBD");
  EXPECT_THAT(line["time"].get<std::string>(), MatchesRegex(kTime));
}

TEST_F(LogTest, DropsWhatIsBelowItsLevel) {
  const auto log_all = [] {
    for (const LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
      Log(level, "x");
    }
  };
  Configure({.level = LogLevel::kDebug});
  EXPECT_TRUE(LogsAt(LogLevel::kDebug));
  log_all();
  Configure({.level = LogLevel::kWarning});
  EXPECT_FALSE(LogsAt(LogLevel::kInfo));
  EXPECT_TRUE(LogsAt(LogLevel::kWarning));
  log_all();
  std::vector<std::string> levels;
  for (const std::string& line : Lines()) {
    levels.push_back(std::vector<std::string>(absl::StrSplit(line, ' '))[1]);
  }
  EXPECT_THAT(levels, ElementsAre("debug", "info", "warning", "error", "warning", "error"));
}

TEST_F(LogTest, AppendsToAFileThatIsThere) {
  folder_.Write("log", "before\n");
  Configure({});
  Log(LogLevel::kInfo, "x");
  ASSERT_EQ(Lines().size(), 2u);
  EXPECT_EQ(Lines()[0], "before");
}

TEST_F(LogTest, WritesToStderrByDefault) {
  testing::internal::CaptureStderr();
  Log(LogLevel::kInfo, "heard");
  Log(LogLevel::kDebug, "not heard");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr(" info heard\n"));
  EXPECT_THAT(text, Not(HasSubstr("not heard")));
}

TEST_F(LogTest, WritesToBothWhenAsked) {
  ASSERT_TRUE(ConfigureLog({.file = path_}).ok());
  testing::internal::CaptureStderr();
  Log(LogLevel::kInfo, "x");
  const std::string text = testing::internal::GetCapturedStderr();
  ASSERT_EQ(Lines().size(), 1u);
  EXPECT_EQ(text, Lines()[0] + "\n");
}

TEST_F(LogTest, RefusesAFileItCannotOpenAndGoesOnAsBefore) {
  Configure({});
  for (const std::string& path : {folder_ / "missing/log", folder_.path()}) {
    const absl::Status status = ConfigureLog({.file = path});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
  EXPECT_FALSE(std::ifstream(folder_ / "missing/log").good());
  Log(LogLevel::kInfo, "x");
  EXPECT_EQ(Line(), "info x");
}

TEST_F(LogTest, SurvivesAFullDisk) {
  ASSERT_TRUE(ConfigureLog({.to_stderr = false, .file = "/dev/full"}).ok());
  testing::internal::CaptureStderr();
  Log(LogLevel::kInfo, "x");
  // spdlog complains there; what counts is that we are still here.
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("/dev/full"));
}

TEST_F(LogTest, KeepsLinesApartBetweenThreads) {
  Configure({});
  const std::string pad(100, 'y');
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &pad] {
      for (int i = 0; i < 250; ++i) Log(LogLevel::kInfo, "x", {{"thread", t}, {"pad", pad}});
    });
  }
  // Meanwhile the output changes hands.
  for (int i = 0; i < 20; ++i) Configure({});
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = Lines();
  EXPECT_EQ(lines.size(), 1000u);
  for (const std::string& line : lines) {
    ASSERT_THAT(line, MatchesRegex(kTime + " info x thread=[0-3] pad=" + pad));
  }
}

}  // namespace
}  // namespace ovi
