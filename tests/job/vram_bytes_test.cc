#include "worker/job/vram_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace ovi {
namespace {

TEST(ParseByteSize, KnowsPowersOf1000AndOf1024) {
  const std::pair<const char*, std::int64_t> good[] = {{"0", 0},
                                                       {"629145600", 629'145'600},
                                                       {"512B", 512},
                                                       {"1k", 1000},
                                                       {"1KiB", 1024},
                                                       {"600 MB", 600'000'000},
                                                       {"600MiB", 600 << 20},
                                                       {"24GiB", std::int64_t{24} << 30},
                                                       {"24 GB", 24'000'000'000},
                                                       {"1.5 GiB", std::int64_t{3} << 29},
                                                       {"2T", 2'000'000'000'000}};
  for (const auto& [text, bytes] : good) {
    const auto parsed = ParseByteSize(text);
    ASSERT_TRUE(parsed.ok()) << text << parsed.status();
    EXPECT_EQ(*parsed, bytes) << text;
  }
  for (const char* bad : {"", "GiB", "-1", "1 XB", "1GiBi", "1 G B", "nan", "inf", "1e30", "0x10", "1,5GB"}) {
    EXPECT_FALSE(ParseByteSize(bad).ok()) << bad;
  }
}

TEST(VramBytesArgument, ReplacesTheTextOrSaysWhatIsWrong) {
  std::string text = "8GB";
  EXPECT_EQ(VramBytesArgument(text), "");
  EXPECT_EQ(text, "8000000000");
  for (const char* bad : {"8", "0", "-1", "lots", "2000TiB"}) {
    text = bad;
    EXPECT_THAT(VramBytesArgument(text), testing::StartsWith("must be bytes from 1 MiB to 1024 TiB")) << bad;
    EXPECT_THAT(VramBytesArgument(text), testing::EndsWith("got \"" + std::string(bad) + "\"")) << bad;
  }
}

}  // namespace
}  // namespace ovi
