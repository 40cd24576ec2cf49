#include "base/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace ovi {
namespace {

// FIPS 180-4's own examples.
TEST(Sha256, KnowsThePublishedDigests) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, DoesNotDependOnHowTheBytesArePieced) {
  const std::string text(1'000'000, 'a');
  Sha256 sha256;
  for (std::size_t offset = 0, count = 1; offset < text.size(); offset += count, count = count * 3 % 4099) {
    sha256.Update(std::string_view(text).substr(offset, count));
  }
  EXPECT_EQ(sha256.FinishHex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, BeginsAnewAfterItsDigest) {
  Sha256 sha256;
  sha256.Update(std::string_view("something else"));
  sha256.FinishHex();
  const std::uint8_t abc[] = {'a', 'b', 'c'};
  sha256.Update(abc);
  EXPECT_EQ(sha256.FinishHex(), Sha256Hex("abc"));
}

TEST(Sha256, TellsADigestFromOtherText) {
  const std::string digest = Sha256Hex("");
  EXPECT_TRUE(IsSha256Hex(digest));
  std::string upper = digest;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](char c) { return c == 'e' ? 'E' : c; });
  EXPECT_FALSE(IsSha256Hex(upper));
  EXPECT_FALSE(IsSha256Hex(""));
  EXPECT_FALSE(IsSha256Hex(digest.substr(1)));
  EXPECT_FALSE(IsSha256Hex(digest + "0"));
  EXPECT_FALSE(IsSha256Hex("../" + digest.substr(3)));
}

}  // namespace
}  // namespace ovi
