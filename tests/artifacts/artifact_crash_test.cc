// Goal: whenever the process is killed, every file it answered for is there whole, and nothing half-written
// is.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/artifacts/files.h"

namespace ovi {
namespace {

using test::ArtifactOf;
using test::MustOpenStore;

// File i of the life that `seed` leads: of its own size and bytes.
std::string FileBytes(int seed, int i) {
  std::mt19937 random(static_cast<std::uint32_t>(seed * 1000 + i));
  return std::string(random() % 200'000, static_cast<char>('a' + i % 26));
}

// Uploads file i as attempt i, publishing every third, until it is killed; a byte for each that is done.
[[noreturn]] void UploadForEver(const std::string& path, int seed, int fd) {
  const auto store = MustOpenStore(path);
  bool good = true;
  for (int i = 1; good; ++i) {
    const core::AttemptRef attempt{.job = 1 + i / 3, .attempt = 1 + i % 3};
    good = test::UploadFile(*store, attempt, FileBytes(seed, i)).ok();
    if (good && i % 3 == 2) good = store->Publish(attempt).ok();
    good = good && ::write(fd, "+", 1) == 1;
  }
  if (::write(fd, "-", 1) != 1) ::_exit(1);
  for (;;) ::pause();
}

class ArtifactCrash : public testing::TestWithParam<int> {};

TEST_P(ArtifactCrash, KeepsWholeFilesOnly) {
  const int seed = GetParam();
  const TempFolder folder;
  int acks[2];
  ASSERT_EQ(::pipe(acks), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) UploadForEver(folder / "store", seed, acks[1]);
  ::close(acks[1]);
  std::mt19937 random(static_cast<std::uint32_t>(seed));
  const int answers = 1 + static_cast<int>(random() % 12);
  int done = 0;
  char answer = '+';
  while (done < answers && ::read(acks[0], &answer, 1) == 1 && answer == '+') ++done;
  for (volatile std::uint32_t spin = random() % 1'000'000; spin > 0;) spin = spin - 1;
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  while (::read(acks[0], &answer, 1) == 1 && answer == '+') ++done;
  ::close(acks[0]);
  ASSERT_EQ(answer, '+') << "the child could not write";

  const auto store = MustOpenStore(folder / "store");
  for (int i = 1; i <= done; ++i) {
    const core::AttemptRef attempt{.job = 1 + i / 3, .attempt = 1 + i % 3};
    const std::string bytes = FileBytes(seed, i);
    EXPECT_TRUE(store->CheckComplete(attempt, std::vector{ArtifactOf(bytes)}).ok()) << "file " << i;
    if (i % 3 == 2) {
      EXPECT_EQ(test::Published(*store, attempt.job), bytes) << "file " << i;
    }
  }
  // One more may have got its name; each is whole.
  const std::vector<std::string> files = folder.Files("video.mp4");
  EXPECT_LE(files.size(), static_cast<std::size_t>(done) + 1);
  EXPECT_TRUE(folder.Files(".part").empty());
  for (const std::string& name : files) {
    std::ifstream file(folder / name, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    bool known = false;
    for (int i = 1; i <= done + 1 && !known; ++i) known = bytes == FileBytes(seed, i);
    EXPECT_TRUE(known) << name << ": " << bytes.size() << " bytes";
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArtifactCrash, testing::Range(0, 20));

}  // namespace
}  // namespace ovi
