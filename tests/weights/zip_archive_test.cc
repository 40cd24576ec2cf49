#include "worker/weights/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/weights/weight_files.h"

namespace ovi {
namespace {

using test::AsBytes;
using test::Le;
using test::Zip;
using test::ZipEntryText;
using testing::HasSubstr;

std::string Contents(const ZipEntries& entries, std::string_view name) {
  const auto found = entries.find(name);
  if (found == entries.end()) return "(not there)";
  return {reinterpret_cast<const char*>(found->second.data()), found->second.size()};
}

TEST(ZipArchive, GivesStoredEntriesOfPlainAndZip64Files) {
  for (const bool is_zip64 : {false, true}) {
    SCOPED_TRACE(is_zip64);
    const std::string file =
        Zip({{.name = "a/b", .contents = "hello", .is_zip64 = is_zip64}, {.name = "empty", .contents = ""}},
            is_zip64);
    const auto entries = ReadZipEntries(AsBytes(file));
    ASSERT_TRUE(entries.ok()) << entries.status();
    EXPECT_EQ(entries->size(), 2u);
    EXPECT_EQ(Contents(*entries, "a/b"), "hello");
    EXPECT_EQ(Contents(*entries, "empty"), "");
  }
}

TEST(ZipArchive, FindsTheEndBeforeAComment) {
  std::string file = Zip({{.name = "a", .contents = "x"}});
  file.resize(file.size() - 2);
  file += Le<std::uint16_t>(7) + "comment";
  const auto entries = ReadZipEntries(AsBytes(file));
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(Contents(*entries, "a"), "x");
}

// `file` with the bytes at `position` overwritten.
std::string Patched(std::string file, std::size_t position, std::string_view bytes) {
  return file.replace(position, bytes.size(), bytes);
}

TEST(ZipArchive, RefusesWhatItCannotReadSafely) {
  const std::string plain = Zip({{.name = "a", .contents = "x"}});
  const std::string wide = Zip({{.name = "a", .contents = "x", .is_zip64 = true}}, true);
  const std::size_t end = plain.size() - 22;
  const std::size_t central = plain.find("PK\1\2"), wide_central = wide.find("PK\1\2");
  const std::string all_ones(8, '\xff');
  const struct {
    const char* name;
    std::string file;
    const char* message;
  } cases[] = {
      {"compressed", Zip({{.name = "a", .contents = "x", .method = 8}}),
       "entry a is compressed (method 8), not stored"},
      {"encrypted", Zip({{.name = "a", .contents = "x", .flags = 1}}), "entry a is encrypted"},
      {"twice", Zip({{.name = "a", .contents = "x"}, {.name = "a", .contents = "y"}}),
       "entry a is there twice"},
      {"other local name", Zip({{.name = "a", .contents = "x", .local_name = "b"}}),
       "entry a is not at its offset"},
      {"two sizes", Zip({{.name = "a", .contents = "x", .stored_bytes = 2}}), "2 bytes for 1"},
      {"no end record", plain.substr(0, plain.size() - 1), "no end record"},
      {"nothing", "", "no end record"},
      {"directory beyond the file", Patched(plain, end + 16, Le<std::uint32_t>(1000)), "is beyond the file"},
      {"directory too long", Patched(plain, end + 12, Le<std::uint32_t>(1000)), "is beyond the file"},
      {"more entries than directory", Patched(plain, end + 10, Le<std::uint16_t>(2)),
       "directory entry 1 is cut short"},
      {"no central signature", Patched(plain, central, "QK"), "directory entry 0 has no signature"},
      {"entry beyond the file", Patched(plain, central + 42, Le<std::uint32_t>(1000)),
       "is not at its offset 1000"},
      {"contents beyond the file",
       Patched(plain, central + 20, Le<std::uint32_t>(500) + Le<std::uint32_t>(500)),
       "entry a of 500 bytes is cut short"},
      {"zip64 offset of all ones", Patched(wide, wide_central + 47 + 4 + 16, all_ones),
       "is not at its offset"},
      {"zip64 size of all ones", Patched(wide, wide_central + 47 + 4, all_ones + all_ones), "is cut short"},
      {"zip64 sizes missing", Patched(wide, wide_central + 47, Le<std::uint16_t>(2)), "no valid Zip64 sizes"},
      {"zip64 end elsewhere", Patched(wide, wide.size() - 22 - 12, all_ones), "not where its locator says"},
      {"zip64 entry count of all ones", Patched(wide, wide.size() - 22 - 20 - 24, all_ones),
       "at most 1000000"},
      {"zip64 directory of all ones", Patched(wide, wide.size() - 22 - 20 - 16, all_ones),
       "is beyond the file"},
      {"zip64 directory offset of all ones", Patched(wide, wide.size() - 22 - 20 - 8, all_ones),
       "is beyond the file"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto entries = ReadZipEntries(AsBytes(c.file));
    ASSERT_FALSE(entries.ok());
    EXPECT_EQ(entries.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace ovi
