#include "base/secret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>

#include "tests/temp_folder.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string WithMode(const std::string& path, mode_t mode) {
  OVI_CHECK(::chmod(path.c_str(), mode) == 0);
  return path;
}

TEST(Secret, IsHexOfTheAskedLengthAndNeverTheSame) {
  EXPECT_EQ(NewSecret(SecretBits::k128).size(), 32u);
  std::set<std::string> secrets;
  for (int i = 0; i < 1000; ++i) {
    const std::string secret = NewSecret();
    EXPECT_EQ(secret.size(), 64u);
    EXPECT_EQ(secret.find_first_not_of("0123456789abcdef"), std::string::npos) << secret;
    secrets.insert(secret);
  }
  EXPECT_EQ(secrets.size(), 1000u);
}

TEST(SecretFile, GivesBackWhatWasWrittenAndIsForItsOwnerOnly) {
  const TempFolder folder;
  const std::string path = folder / "token";
  const mode_t mask = ::umask(0);
  const absl::Status written = WriteSecretFile(path, "s3cret");
  ::umask(mask);
  ASSERT_TRUE(written.ok()) << written;
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(ReadSecretFile(path).value(), "s3cret");
}

TEST(SecretFile, IsReplacedWhole) {
  const TempFolder folder;
  const std::string path = folder.Write("token", "a longer secret than the new one\n");
  ASSERT_TRUE(WriteSecretFile(path, "new").ok());
  EXPECT_EQ(ReadSecretFile(path).value(), "new");
  EXPECT_THAT(folder.Files(), testing::ElementsAre("token"));
}

TEST(SecretFile, IsRefusedWhenOthersMayUseIt) {
  const TempFolder folder;
  for (const mode_t mode : {0640, 0620, 0610, 0604, 0602, 0601, 0644, 0660}) {
    const std::string path = WithMode(folder.Write("token", "s3cret"), mode);
    const absl::Status status = ReadSecretFile(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << mode;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
  }
  for (const mode_t mode : {0600, 0400, 0700}) {
    EXPECT_TRUE(ReadSecretFile(WithMode(folder.Write("token", "s3cret"), mode)).ok()) << mode;
    WithMode(folder / "token", 0600);
  }
}

TEST(SecretFile, IsRefusedWhenItIsSomebodyElses) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const TempFolder folder;
  const std::string path = WithMode(folder.Write("token", "s3cret"), 0600);
  ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
  const absl::Status status = ReadSecretFile(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), HasSubstr("12345"));
}

TEST(SecretFile, HoldsOneLine) {
  struct Case {
    const char* name;
    std::string bytes;
    std::string secret;  // "" = refused
  };
  const Case cases[] = {{"bare", "s3cret", "s3cret"},
                        {"with a line end", "s3cret\n", "s3cret"},
                        {"with blanks around", " \ts3cret\r\n\n", "s3cret"},
                        {"longest", std::string(4096, 'x'), std::string(4096, 'x')},
                        {"too long", std::string(4097, 'x'), ""},
                        {"endless", std::string(1 << 20, 'x'), ""},
                        {"empty", "", ""},
                        {"blank", " \n\t\n", ""},
                        {"two lines", "s3cret\nmore\n", ""}};
  const TempFolder folder;
  for (const Case& c : cases) {
    const std::string path = WithMode(folder.Write("token", c.bytes), 0600);
    const absl::StatusOr<std::string> secret = ReadSecretFile(path);
    if (!c.secret.empty()) {
      EXPECT_EQ(secret.value_or("refused"), c.secret) << c.name;
      continue;
    }
    EXPECT_EQ(secret.status().code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_THAT(std::string(secret.status().message()), HasSubstr(path)) << c.name;
    EXPECT_THAT(std::string(secret.status().message()), Not(HasSubstr("s3cret"))) << c.name;
  }
}

TEST(SecretFile, MustBeAFile) {
  const TempFolder folder;
  EXPECT_EQ(ReadSecretFile(folder / "missing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadSecretFile(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(ReadSecretFile(folder / "fifo").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SecretFile, IsNotWrittenWhenItCouldNotBeReadBack) {
  const TempFolder folder;
  for (const std::string& secret :
       {std::string(), std::string("two\nlines"), std::string("blank "), std::string(4096, 'x')}) {
    EXPECT_EQ(WriteSecretFile(folder / "token", secret).code(), absl::StatusCode::kInvalidArgument) << secret;
  }
  EXPECT_TRUE(WriteSecretFile(folder / "token", std::string(4095, 'x')).ok());
  EXPECT_TRUE(ReadSecretFile(folder / "token").ok());
}

TEST(SecretFile, NeedsAPlaceToBeWrittenTo) {
  const TempFolder folder;
  EXPECT_EQ(WriteSecretFile(folder / "missing/token", "x").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(WriteSecretFile(folder.path(), "x").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SecretFile, LeavesTheOldOneWhenTheDiskFails) {
  const TempFolder folder;
  ASSERT_TRUE(WriteSecretFile(folder / "token", "old").ok());
  // A limit on the size of files stands for the disk.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tiny { .rlim_cur = 2, .rlim_max = before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const absl::Status status = WriteSecretFile(folder / "token", "the new one");
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ReadSecretFile(folder / "token").value(), "old");
  EXPECT_THAT(folder.Files(), testing::ElementsAre("token"));
}

// RFC 4231, cases 1, 2 and 6.
TEST(Hmac, KnowsThePublishedDigests) {
  EXPECT_EQ(HmacSha256Hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(HmacSha256Hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(HmacSha256Hex(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(ConstantTime, ComparesAsUsual) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime("token", "token"));
  EXPECT_FALSE(EqualInConstantTime("token", "tokeN"));
  EXPECT_FALSE(EqualInConstantTime("token", "toke"));
  EXPECT_FALSE(EqualInConstantTime("", "t"));
  EXPECT_FALSE(EqualInConstantTime(std::string("a\0b", 3), std::string("a\0c", 3)));
}

}  // namespace
}  // namespace ovi
