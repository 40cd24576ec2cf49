#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include "tests/temp_folder.h"
#include "tests/weights/weight_files.h"

namespace ovi {
namespace {

TEST(MappedFile, ShowsTheWholeFile) {
  TempFolder folder;
  const std::string text(10'000, 'q');
  const auto file = MappedFile::Open(folder.Write("f", text));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), folder / "f");
  ASSERT_EQ((*file)->bytes().size(), text.size());
  EXPECT_EQ((*file)->bytes().back(), std::byte{'q'});
}

TEST(MappedFile, ShowsNothingOfAnEmptyFile) {
  TempFolder folder;
  const auto file = MappedFile::Open(folder.Write("f", ""));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST(MappedFile, FollowsSymbolicLinks) {
  TempFolder folder;
  std::filesystem::create_symlink(folder.Write("f", "abc"), folder / "link");
  const auto file = MappedFile::Open(folder / "link");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->bytes().size(), 3u);
}

}  // namespace
}  // namespace ovi
