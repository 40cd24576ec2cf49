#include "coordinator/journal/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/journal/changes.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;

core::Change ThereAndBack(const core::Change& change) {
  const JournalRow row = EncodeChange(change);
  const absl::StatusOr<core::Change> decoded = DecodeChange(row.kind, row.payload);
  EXPECT_TRUE(decoded.ok()) << decoded.status();
  return decoded.ok() ? *decoded : core::Change{};
}

TEST(Codec, GivesBackEveryKindOfChangeWithAllItsFields) {
  const std::vector<core::Change> changes = test::EveryChange();
  ASSERT_EQ(changes.size(), std::variant_size_v<core::Change>);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    ASSERT_EQ(changes[i].index(), i);
    EXPECT_EQ(ThereAndBack(changes[i]), changes[i]) << "kind " << i;
  }
}

TEST(Codec, GivesBackChangesWithNothingSet) {
  const std::vector<core::Change> changes = {
      core::JobAdded{},     core::AttemptStarted{}, core::AttemptAdvanced{},
      core::AttemptEnded{}, core::JobFinished{},    core::CancelRequested{},
      core::JobForgotten{}, core::NodeDrained{},    core::NodeResumed{}};
  for (const core::Change& change : changes) EXPECT_EQ(ThereAndBack(change), change) << change.index();
}

TEST(Codec, GivesBackEveryWordOfEveryEnum) {
  for (int i = 0; i <= static_cast<int>(core::JobState::kCancelled); ++i) {
    const core::AttemptAdvanced change{.state = static_cast<core::JobState>(i)};
    EXPECT_EQ(ThereAndBack(change), core::Change(change)) << i;
  }
  for (int i = 0; i <= static_cast<int>(core::AttemptEnd::kNodeNotReady); ++i) {
    const core::AttemptEnded change{.end = static_cast<core::AttemptEnd>(i)};
    EXPECT_EQ(ThereAndBack(change), core::Change(change)) << i;
  }
  for (int i = 0; i <= static_cast<int>(core::Stage::kDecode); ++i) {
    const core::AttemptEnded change{.memory = {{.stage = static_cast<core::Stage>(i)}}};
    EXPECT_EQ(ThereAndBack(change), core::Change(change)) << i;
  }
  for (int i = 0; i <= static_cast<int>(core::ArtifactKind::kContactSheet); ++i) {
    const core::JobFinished change{.artifacts = {{.kind = static_cast<core::ArtifactKind>(i)}}};
    EXPECT_EQ(ThereAndBack(change), core::Change(change)) << i;
  }
  for (int i = 0; i <= static_cast<int>(core::Allocation::kFsdp); ++i) {
    const core::JobAdded change{.request = {.allocation = static_cast<core::Allocation>(i)}};
    EXPECT_EQ(ThereAndBack(change), core::Change(change)) << i;
  }
}

TEST(Codec, GivesBackEveryVramMode) {
  for (int i = 0; i <= static_cast<int>(VramMode::kUltraLow); ++i) {
    const core::JobAdded change{.request = {.vram_mode = static_cast<VramMode>(i)}};
    EXPECT_EQ(ThereAndBack(change), core::Change(change)) << i;
    const core::AttemptStarted started{.vram_mode = static_cast<VramMode>(i)};
    EXPECT_EQ(ThereAndBack(started), core::Change(started)) << i;
  }
}

TEST(Codec, GivesBackTheLargestAndTheSmallestNumbers) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  const core::AttemptStarted started{.attempt = {kMost, std::numeric_limits<int>::max()},
                                     .at = kLeast,
                                     .gpu_indices = {std::numeric_limits<int>::min()},
                                     .bytes_per_rank = kMost};
  EXPECT_EQ(ThereAndBack(started), core::Change(started));
  const core::AttemptEnded ended{.memory = {{.seconds = std::numeric_limits<double>::denorm_min()}}};
  EXPECT_EQ(ThereAndBack(ended), core::Change(ended));
}

TEST(Codec, KnowsWhoseAChangeIs) {
  for (const core::Change& change : test::EveryChange()) {
    const bool of_node = std::holds_alternative<core::NodeDrained>(change) ||
                         std::holds_alternative<core::NodeResumed>(change);
    EXPECT_EQ(JobOf(change), of_node ? 0 : 7) << change.index();
    EXPECT_EQ(EncodeChange(change).job, JobOf(change));
  }
}

// As it was before jobs could have a limit, and low-rank weights were reckoned with.
core::Change WithoutLimits(core::Change change) {
  if (auto* added = std::get_if<core::JobAdded>(&change)) {
    added->request.vram_bytes_max = 0;
    added->request.low_rank = false;
  }
  return change;
}

// As it was before there were vram modes: what is absent means what was then.
core::Change WithoutModes(core::Change change) {
  change = WithoutLimits(std::move(change));
  if (auto* added = std::get_if<core::JobAdded>(&change)) added->request.vram_mode = VramMode::kAuto;
  if (auto* started = std::get_if<core::AttemptStarted>(&change)) started->vram_mode = VramMode::kAuto;
  if (auto* ended = std::get_if<core::AttemptEnded>(&change)) {
    for (core::MemoryReport& report : ended->memory) report.host_bytes_planned = 0;
  }
  return change;
}

// What EncodeChange wrote when these rows were first defined. A journal of then must read as the same changes
// for ever: when this fails, a number in change.proto was changed.
TEST(Codec, ReadsTheBytesOfOldJournals) {
  const struct {
    int kind;
    const char* payload;
  } rows[] = {
      {1,
       "0a51080710fbd0dfb4ab331a09726571756573742d3122240a0361646110fbffffffffffffffff011a0a373230783732"
       "305f357320012804300438012a05ff000ac3a93205666972737432003205ff000ac3a9"},
      {2, "12220a040807100210021a0467372d312205626f782d312a030300013080808080603801"},
      {3, "1a0a0a040807100210031804"},
      {4,
       "22300a0408071002100418052205ff000ac3a92a190801100318808080805c208080808060299a9999999999b93f2a02"
       "1001"},
      {5,
       "2a680807100518062205ff000ac3a92a550803120973686565742e706e671a4061616161616161616161616161616161"
       "616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161"
       "2080808080502a020801"},
      {6, "320408071006"},
      {7, "3a020807"},
      {8, "42100a05626f782d3110081a05ff000ac3a9"},
      {9, "4a090a05626f782d311009"}};
  const std::vector<core::Change> changes = test::EveryChange();
  ASSERT_EQ(std::size(rows), changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const absl::StatusOr<core::Change> read =
        DecodeChange(rows[i].kind, absl::HexStringToBytes(rows[i].payload));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, WithoutModes(changes[i])) << "kind " << rows[i].kind;
  }
  // And since there are modes.
  const struct {
    int kind;
    const char* payload;
  } with_modes[] = {
      {1,
       "0a51080710fbd0dfb4ab331a09726571756573742d3122240a0361646110fbffffffffffffffff011a0a373230783732"
       "305f357320012804300440042a05ff000ac3a93205666972737432003205ff000ac3a9"},
      {2, "12240a040807100210021a0467372d312205626f782d312a0303000130808080806038014005"},
      {4,
       "22360a0408071002100418052205ff000ac3a92a1f0801100318808080805c208080808060299a9999999999b93f3080"
       "808080342a021001"}};
  for (const auto& row : with_modes) {
    const absl::StatusOr<core::Change> read = DecodeChange(row.kind, absl::HexStringToBytes(row.payload));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, WithoutLimits(changes[static_cast<std::size_t>(row.kind - 1)])) << "kind " << row.kind;
  }
  const absl::StatusOr<core::Change> with_limits = DecodeChange(
      1,
      absl::HexStringToBytes(
          "0a59080710fbd0dfb4ab331a09726571756573742d31222c0a0361646110fbffffffffffffffff011a0a373230783732"
          "305f357320012804300440044880808080205001"
          "2a05ff000ac3a93205666972737432003205ff000ac3a9"));
  ASSERT_TRUE(with_limits.ok()) << with_limits.status();
  EXPECT_EQ(*with_limits, changes[0]);
}

TEST(Codec, RefusesWhatItNeverWrote) {
  const struct {
    const char* name;
    int kind;
    std::string payload;  // hex
    const char* says;
  } cases[] = {{"nothing", 1, "", "no change this version knows"},
               {"no protobuf", 1, "ffffff", "3 bytes is no change"},
               {"cut off", 3, "1a0a0a0408071002", "8 bytes is no change"},
               {"a kind of the future", 99, "9a06020807", "no change this version knows"},
               {"another kind's payload", 6, "3a020807", "kind is 6, but the payload's is 7"},
               {"unknown state", 3, "1a0a0a04080710021003185a", "state: unknown value 90"},
               {"no state", 3, "1a080a04080710021003", "state: unknown value 0"},
               {"no end", 4, "2202100a", "end: unknown value 0"},
               {"no stage", 4, "220418052a00", "memory.stage: unknown value 0"},
               {"no artifact kind", 5, "2a0418052a00", "artifacts.kind: unknown value 0"},
               {"no allocation", 1, "0a020807", "allocation: unknown value 0"},
               {"unknown mode", 2, "1202405a", "vram_mode: unknown value 90"}};
  for (const auto& c : cases) {
    const absl::Status status = DecodeChange(c.kind, absl::HexStringToBytes(c.payload)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says)) << c.name;
  }
}

TEST(Codec, ChecksumDiffersWithEveryByte) {
  const JournalRow row = EncodeChange(test::EveryChange()[4]);
  std::set<std::int64_t> seen = {ChecksumOf(row.job, row.kind, row.payload)};
  EXPECT_TRUE(seen.insert(ChecksumOf(row.job + 1, row.kind, row.payload)).second);
  EXPECT_TRUE(seen.insert(ChecksumOf(row.job, row.kind + 1, row.payload)).second);
  EXPECT_TRUE(seen.insert(ChecksumOf(row.job, row.kind, row.payload + '\0')).second);
  for (std::size_t i = 0; i < row.payload.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = row.payload;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      EXPECT_TRUE(seen.insert(ChecksumOf(row.job, row.kind, changed)).second) << i << ", bit " << bit;
    }
  }
}

}  // namespace
}  // namespace ovi
