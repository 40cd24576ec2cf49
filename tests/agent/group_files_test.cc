// What the agent keeps of a group on disk: records, locks, logs, and how long.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>

#include "base/small_file.h"
#include "base/text.h"
#include "tests/temp_folder.h"
#include "worker/agent/group_folder.h"
#include "worker/agent/group_launch.h"
#include "worker/agent/group_log.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(GroupFolder, GivesItsRecordsBack) {
  const TempFolder temp;
  const GroupFolder folder(temp.path());
  EXPECT_TRUE(absl::IsNotFound(folder.ReadProcess().status()));
  EXPECT_TRUE(absl::IsNotFound(folder.ReadExit().status()));
  const ProcessRecord process{
      .keeper_pid = 12, .keeper_start_ticks = 1'234'567, .leader_pid = 13, .boot_id = "b"};
  const ExitRecord exit{.launched = true, .exit_code = -1, .signal = 9, .message = "broken \xff text"};
  ASSERT_TRUE(folder.Write(process).ok());
  ASSERT_TRUE(folder.Write(exit).ok());
  EXPECT_EQ(*folder.ReadProcess(), process);
  EXPECT_EQ(folder.ReadExit()->signal, 9);
  EXPECT_THAT(folder.ReadExit()->message, StartsWith("broken "))
      << "whatever the text, the record is readable";
  EXPECT_FALSE(folder.told());
  folder.MarkTold();
  EXPECT_TRUE(folder.told());
}

TEST(GroupFolder, SaysWhichRecordIsBroken) {
  const TempFolder temp;
  for (const char* text :
       {"", "{", "[]", "{\"launched\": 1}", "{\"launched\": true, \"exit_code\": \"x\"}"}) {
    temp.Write("exit.json", text);
    const auto record = GroupFolder(temp.path()).ReadExit();
    EXPECT_EQ(record.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(record.status().message()), HasSubstr("exit.json: ")) << text;
  }
}

TEST(GroupFolder, HasOneScratchFolderForItself) {
  const TempFolder temp;
  const GroupFolder folder(temp.path());
  const auto scratch = folder.MakeScratch();
  ASSERT_TRUE(scratch.ok()) << scratch.status();
  struct stat info {};
  ASSERT_EQ(::stat(scratch->c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  std::ofstream(*scratch + "/left") << "behind";
  EXPECT_EQ(*folder.MakeScratch(), *scratch);
  EXPECT_TRUE(fs::is_empty(*scratch)) << "what was left is gone";
  folder.RemoveScratch();
  EXPECT_FALSE(fs::exists(*scratch));
}

TEST(TryLockFile, IsHeldByOneAndFreeWhenThatIsGone) {
  const TempFolder temp;
  {
    const auto first = TryLockFile(temp / "lock");
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_TRUE(absl::IsUnavailable(TryLockFile(temp / "lock").status()));
  }
  EXPECT_TRUE(TryLockFile(temp / "lock").ok());
  EXPECT_FALSE(absl::IsUnavailable(TryLockFile(temp / "no/folder").status()));
}

TEST(GroupLog, KeepsTheEndWithinItsBound) {
  const TempFolder temp;
  GroupLogWriter log(temp.path(), 1000);
  for (int i = 0; i < 500; ++i) log.Append("line " + std::to_string(10'000 + i) + "\n");  // 11 bytes each
  const std::int64_t bytes =
      static_cast<std::int64_t>(fs::file_size(temp / "output.log") + fs::file_size(temp / "output.log.1"));
  EXPECT_LE(bytes, 2000);
  EXPECT_GE(bytes, 1000);
  const auto tail = ReadGroupLogTail(temp.path(), 1100);
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_EQ(tail->size(), 1100u) << "across both files";
  EXPECT_THAT(*tail, StartsWith("line 10400\n"));
  EXPECT_THAT(*tail, testing::EndsWith("line 10499\n"));
}

TEST(GroupLog, GoesOnWhereItWas) {
  const TempFolder temp;
  GroupLogWriter(temp.path()).Append("first\n");
  GroupLogWriter(temp.path()).Append("second\n");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 100), "first\nsecond\n");
}

TEST(GroupLog, ShowsWholeLinesWhereItCan) {
  const TempFolder temp;
  GroupLogWriter(temp.path()).Append("one\ntwo\nthree\n");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 14), "one\ntwo\nthree\n");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 13), "two\nthree\n");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 10), "two\nthree\n");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 9), "three\n");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 4), "ree\n") << "no whole line fits";
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), 0), "");
  EXPECT_EQ(*ReadGroupLogTail(temp.path(), -5), "");
  EXPECT_TRUE(absl::IsNotFound(ReadGroupLogTail(temp / "nowhere", 10).status()));
}

TEST(GroupLog, IsShownAsProperUtf8) {
  const TempFolder temp;
  GroupLogWriter(temp.path()).Append(std::string("a\xff\xfe é\0b\n", 9));
  const auto tail = ReadGroupLogTail(temp.path(), 100);
  ASSERT_TRUE(tail.ok());
  EXPECT_TRUE(IsValidUtf8(*tail));
  EXPECT_EQ(*tail, "a?? é?b\n");
}

TEST(RemoveOldGroupFolders, KeepsTheNewestTheRecentAndTheLiving) {
  const TempFolder temp;
  const auto now = fs::file_time_type::clock::now();
  for (int i = 0; i < 6; ++i) {  // g0 ended just now, g1 a day ago, ...
    const std::string dir = temp / ("g" + std::to_string(i));
    fs::create_directory(dir);
    std::ofstream(dir + "/exit.json") << "{}";
    fs::last_write_time(dir + "/exit.json", now - std::chrono::hours(24) * i);
  }
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(temp.path())) found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  };
  RemoveOldGroupFolders(temp.path(), {"g5"}, {.count_max = 50, .days_max = 3});
  EXPECT_THAT(names(), ElementsAre("g0", "g1", "g2", "g5")) << "g3 ended three days and a moment ago";
  RemoveOldGroupFolders(temp.path(), {"g5"}, {.count_max = 2, .days_max = 3});
  EXPECT_THAT(names(), ElementsAre("g0", "g1", "g5"));
}

}  // namespace
}  // namespace ovi
