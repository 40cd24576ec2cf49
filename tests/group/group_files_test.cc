// What an agent writes is what a group reads, and nothing else is taken.
#include "worker/group/group_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/small_file.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

constexpr char kToken[] = "0123456789abcdef";

GroupFacts Facts() {
  return {.group_id = "g12-1",
          .node = "box-1",
          .gpu_indices = {2, 0},
          .bytes_per_rank = std::int64_t{20} << 30,
          .rank_shares = {2, 1},
          .model_name = "720x720_5s",
          .models_dir = "/srv/models",
          .weights_dir = "/srv/weights of \"ovi\"",
          .coordinator_address = "head:7070",
          .idle_timeout_ms = 660'000,
          .insecure = true,
          .threads_per_rank = 4};
}

TEST(GroupFiles, AGroupReadsWhatItsAgentWrote) {
  const TempFolder folder;
  ASSERT_EQ(WriteGroupFiles(folder.path(), Facts(), kToken), absl::OkStatus());
  const absl::StatusOr<GroupFacts> facts = ReadGroupFacts(folder.path());
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(*facts, Facts());
  const absl::StatusOr<std::string> token = ReadGroupToken(folder.path());
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(*token, kToken);
}

TEST(GroupFiles, TheTokenIsItsOwnersAloneAndInNoOtherFile) {
  const TempFolder folder;
  ASSERT_EQ(WriteGroupFiles(folder.path(), Facts(), kToken), absl::OkStatus());
  struct stat info {};
  ASSERT_EQ(stat((folder / "token").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const absl::StatusOr<std::string> facts = ReadSmallFile(folder / "group.json", 1 << 16);
  ASSERT_TRUE(facts.ok());
  EXPECT_THAT(*facts, testing::Not(testing::HasSubstr(kToken)));
  ASSERT_EQ(chmod((folder / "token").c_str(), 0644), 0);
  const absl::Status status = ReadGroupToken(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), testing::Not(testing::HasSubstr(kToken)));
}

TEST(GroupFiles, RefusesFactsThatCannotBe) {
  const struct {
    const char* field;
    void (*change)(GroupFacts& facts);
  } rows[] = {
      {"group_id", [](GroupFacts& f) { f.group_id = ""; }},
      {"group_id", [](GroupFacts& f) { f.group_id = "../other"; }},
      {"node", [](GroupFacts& f) { f.node = std::string(200, 'n'); }},
      {"model_name", [](GroupFacts& f) { f.model_name = "/etc"; }},
      {"model_name", [](GroupFacts& f) { f.model_name = ".."; }},
      {"gpu_indices", [](GroupFacts& f) { f.gpu_indices = {}; }},
      {"gpu_indices", [](GroupFacts& f) { f.gpu_indices = {-1}; }},
      {"bytes_per_rank", [](GroupFacts& f) { f.bytes_per_rank = 0; }},
      {"rank_shares", [](GroupFacts& f) { f.rank_shares = {1}; }},
      {"rank_shares",
       [](GroupFacts& f) {
         f.rank_shares = {1, 0};
       }},
      {"models_dir", [](GroupFacts& f) { f.models_dir = "a\nb"; }},
      {"weights_dir", [](GroupFacts& f) { f.weights_dir = "\xff"; }},
      {"coordinator_address", [](GroupFacts& f) { f.coordinator_address = ""; }},
      {"idle_timeout_ms", [](GroupFacts& f) { f.idle_timeout_ms = 0; }},
      {"threads_per_rank", [](GroupFacts& f) { f.threads_per_rank = -1; }},
  };
  for (const auto& row : rows) {
    const TempFolder folder;
    GroupFacts facts = Facts();
    row.change(facts);
    const absl::Status status = WriteGroupFiles(folder.path(), facts, kToken);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.field;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(row.field));
    EXPECT_THAT(folder.Files(), testing::IsEmpty());
  }
}

TEST(GroupFiles, RefusesATextThatHoldsOtherThings) {
  const TempFolder folder;
  ASSERT_EQ(WriteGroupFiles(folder.path(), Facts(), kToken), absl::OkStatus());
  const std::string good = *ReadSmallFile(folder / "group.json", 1 << 16);
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  const struct {
    std::string text;
    const char* says;
  } rows[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {good.substr(0, good.size() / 2), "not a JSON object"},
      {replaced("\"node\"", "\"nodes\""), "node is missing"},
      {replaced("\"insecure\": true", "\"insecure\": 1"), "insecure must be true or false"},
      {replaced("\"box-1\"", "7"), "node must be text"},
      {replaced("660000", "660000.5"), "idle_timeout_ms must be a whole number"},
      {replaced("660000", "18446744073709551615"), "idle_timeout_ms must be a whole number"},
      {replaced("\"threads_per_rank\": 4", "\"threads_per_rank\": 4294967300"),
       "threads_per_rank is too large"},
      {replaced("660000", "-3"), "idle_timeout_ms must be from 1"},
  };
  for (const auto& row : rows) {
    folder.Write("group.json", row.text);
    const absl::Status status = ReadGroupFacts(folder.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.says;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(row.says));
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("group.json"));
  }
}

TEST(GroupFiles, SaysThatAFileIsMissing) {
  const TempFolder folder;
  EXPECT_EQ(ReadGroupFacts(folder.path()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadGroupToken(folder.path()).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace ovi
