// The files of streamed weights: made once by whoever comes first, found by the others, taken away when
// nobody uses them, and refused in words that say what to do.
#include "worker/pipeline/unit_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/mount.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::vector<UnitShelf::Item> kItems = {
    {{FusionPiece::kText}, 100}, {{FusionPiece::kBlockPair, 0}, 5000}, {{FusionPiece::kBlockPair, 1}, 5000}};

// Each unit's bytes are its place in the list.
absl::Status FillWithIndex(FusionUnit unit, std::span<std::byte> to) {
  const auto found = std::find_if(kItems.begin(), kItems.end(),
                                  [unit](const UnitShelf::Item& item) { return item.unit == unit; });
  std::memset(to.data(), static_cast<int>(found - kItems.begin()) + 1, to.size());
  return absl::OkStatus();
}

absl::Status NeverFill(FusionUnit, std::span<std::byte>) {
  return absl::InternalError("made anew");
}

void ExpectBytes(const UnitShelf& shelf) {
  for (std::size_t i = 0; i < kItems.size(); ++i) {
    const std::span<const std::byte> bytes = shelf.Bytes(kItems[i].unit);
    ASSERT_EQ(static_cast<std::int64_t>(bytes.size()), kItems[i].bytes);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                            [i](std::byte byte) { return std::to_integer<std::size_t>(byte) == i + 1; }));
  }
}

std::vector<fs::path> UnitFolders(const TempFolder& folder) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder / "cache/units", error)) {
    if (entry.path().extension() == ".units") folders.push_back(entry.path());
  }
  return folders;
}

TEST(UnitFolder, IsMadeOnceAndFoundByTheOthers) {
  const TempFolder folder;
  const std::unique_ptr<UnitShelf> first = MakeUnitFolder(folder / "cache", "model a");
  ASSERT_EQ(first->Stock(kItems, FillWithIndex), absl::OkStatus());
  ExpectBytes(*first);
  const std::unique_ptr<UnitShelf> second = MakeUnitFolder(folder / "cache", "model a");
  ASSERT_EQ(second->Stock(kItems, NeverFill), absl::OkStatus());
  ExpectBytes(*second);
  EXPECT_EQ(UnitFolders(folder).size(), 1u);
  EXPECT_EQ(MakeUnitFolder(folder / "cache", "model b")->Stock(kItems, NeverFill).code(),
            absl::StatusCode::kInternal);
}

// Another limit, and other units are streamed: what is there already serves.
TEST(UnitFolder, MakesOnlyTheUnitsThatAreMissing) {
  const TempFolder folder;
  const auto some = std::span(kItems).subspan(1);
  ASSERT_EQ(MakeUnitFolder(folder / "cache", "model")->Stock(some, FillWithIndex), absl::OkStatus());
  std::vector<std::string> filled;
  const std::unique_ptr<UnitShelf> shelf = MakeUnitFolder(folder / "cache", "model");
  ASSERT_EQ(shelf->Stock(kItems,
                         [&](FusionUnit unit, std::span<std::byte> to) {
                           filled.push_back(ToString(unit));
                           return FillWithIndex(unit, to);
                         }),
            absl::OkStatus());
  EXPECT_THAT(filled, testing::ElementsAre("text embedding"));
  ExpectBytes(*shelf);
  EXPECT_EQ(MakeUnitFolder(folder / "cache", "model")->Stock(some, NeverFill), absl::OkStatus());
  EXPECT_EQ(UnitFolders(folder).size(), 1u);
}

TEST(UnitFolder, GoesOnWhereAnotherStopped) {
  const TempFolder folder;
  EXPECT_EQ(MakeUnitFolder(folder / "cache", "model")
                ->Stock(kItems,
                        [](FusionUnit unit, std::span<std::byte> to) {
                          return unit.block == 1 ? absl::CancelledError() : FillWithIndex(unit, to);
                        })
                .code(),
            absl::StatusCode::kCancelled);
  int filled = 0;
  const std::unique_ptr<UnitShelf> shelf = MakeUnitFolder(folder / "cache", "model");
  ASSERT_EQ(shelf->Stock(kItems,
                         [&](FusionUnit unit, std::span<std::byte> to) {
                           ++filled;
                           return FillWithIndex(unit, to);
                         }),
            absl::OkStatus());
  EXPECT_EQ(filled, 1);
  ExpectBytes(*shelf);
}

TEST(UnitFolder, IsMadeByOneOfAllWhoComeTogether) {
  const TempFolder folder;
  std::atomic<int> filled{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const std::unique_ptr<UnitShelf> shelf = MakeUnitFolder(folder / "cache", "model");
      EXPECT_EQ(shelf->Stock(kItems,
                             [&](FusionUnit unit, std::span<std::byte> to) {
                               ++filled;
                               return FillWithIndex(unit, to);
                             }),
                absl::OkStatus());
      ExpectBytes(*shelf);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(filled, static_cast<int>(kItems.size()));
}

TEST(UnitFolder, OneOfAnotherSizeIsMadeAnew) {
  const TempFolder folder;
  ASSERT_EQ(MakeUnitFolder(folder / "cache", "model")->Stock(kItems, FillWithIndex), absl::OkStatus());
  fs::resize_file(UnitFolders(folder).front() / "block pair 1", 17);
  const std::unique_ptr<UnitShelf> shelf = MakeUnitFolder(folder / "cache", "model");
  ASSERT_EQ(shelf->Stock(kItems, FillWithIndex), absl::OkStatus());
  ExpectBytes(*shelf);
}

TEST(UnitFolder, KeepsWhatIsUsedAndTheTwoUsedLast) {
  const TempFolder folder;
  std::vector<std::unique_ptr<UnitShelf>> in_use;
  for (int i = 0; i < 6; ++i) {
    std::unique_ptr<UnitShelf> shelf = MakeUnitFolder(folder / "cache", "model " + std::to_string(i));
    ASSERT_EQ(shelf->Stock(kItems, FillWithIndex), absl::OkStatus());
    if (i < 2) in_use.push_back(std::move(shelf));
  }
  // Two that are used, two that are not, and the last one, which was in use when it looked.
  EXPECT_EQ(UnitFolders(folder).size(), 5u);
  for (const std::unique_ptr<UnitShelf>& shelf : in_use) ExpectBytes(*shelf);
}

TEST(UnitFolder, MakesRoomOfWhatNobodyUses) {
  const TempFolder folder;
  fs::create_directory(folder / "cache");
  const Mount disk(folder / "cache", 0, "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  ASSERT_EQ(MakeUnitFolder(folder / "cache", "unused")->Stock(kItems, FillWithIndex), absl::OkStatus());
  const std::unique_ptr<UnitShelf> in_use = MakeUnitFolder(folder / "cache", "in use");
  ASSERT_EQ(in_use->Stock(kItems, FillWithIndex), absl::OkStatus());
  const std::vector<UnitShelf::Item> large = {{{FusionPiece::kText}, 30'000}};
  const std::unique_ptr<UnitShelf> shelf = MakeUnitFolder(folder / "cache", "large");
  ASSERT_EQ(shelf->Stock(large,
                         [](FusionUnit, std::span<std::byte> to) {
                           std::memset(to.data(), 1, to.size());
                           return absl::OkStatus();
                         }),
            absl::OkStatus());
  EXPECT_EQ(UnitFolders(folder).size(), 2u);
  ExpectBytes(*in_use);
}

TEST(UnitFolder, LeavesNothingOfARunThatMadeNothing) {
  const TempFolder folder;
  EXPECT_FALSE(MakeUnitFolder(folder / "cache", "model")->Stock(kItems, NeverFill).ok());
  EXPECT_TRUE(UnitFolders(folder).empty());
}

TEST(UnitFolder, TakesAwayThePartsOfAKilledProcess) {
  const TempFolder folder;
  ASSERT_EQ(MakeUnitFolder(folder / "cache", "model")->Stock(kItems, FillWithIndex), absl::OkStatus());
  const fs::path part = UnitFolders(folder).front() / "head.123-1.part";
  std::ofstream(part) << "half a unit";
  ASSERT_EQ(MakeUnitFolder(folder / "cache", "model")->Stock(kItems, NeverFill), absl::OkStatus());
  EXPECT_FALSE(fs::exists(part));
}

TEST(UnitFolder, NamesTheFolderThatCannotBeUsed) {
  const TempFolder folder;
  folder.Write("cache", "a file where the folder should be");
  const absl::Status status = MakeUnitFolder(folder / "cache", "model")->Stock(kItems, FillWithIndex);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cache/units: cannot make this folder"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("OVI_CACHE_DIR names another"));
}

TEST(UnitFolder, SaysHowMuchRoomADiskLacks) {
  const TempFolder folder;
  fs::create_directory(folder / "cache");
  const Mount disk(folder / "cache", 0, "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << disk.reason();
  const std::vector<UnitShelf::Item> large = {{{FusionPiece::kText}, 1 << 20}};
  const absl::Status status = MakeUnitFolder(folder / "cache", "model")->Stock(large, FillWithIndex);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << "no lack of memory: " << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("bytes_needed=1048576"));
}

}  // namespace
}  // namespace ovi
