// Goal: whenever the process is killed or the power fails, the journal holds whole batches only, in order,
// and every batch that Append answered for.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/journal/changes.h"
#include "tests/journal/open_journal.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using test::MustOpen;
using test::Replayed;

// A coordinator's life from a seed: batches of 1 to 8 changes, with a job forgotten here and there.
class Batches {
 public:
  explicit Batches(std::uint32_t seed) : random_(seed) {}

  std::vector<core::Change> Next() {
    std::vector<core::Change> batch;
    for (std::uint32_t count = 1 + random_() % 8; count > 0; --count) {
      if (forgotten_ + 5 < job_ && random_() % 4 == 0) {
        batch.emplace_back(core::JobForgotten{.job = ++forgotten_});
      } else {
        ++job_;
        batch.emplace_back(core::JobAdded{.job = job_, .spec = std::string(random_() % 3000, 's')});
      }
    }
    return batch;
  }

 private:
  std::mt19937 random_;
  core::JobId job_ = 0, forgotten_ = 0;
};

// What replay must give after each number of batches, from 0.
std::vector<std::vector<core::Change>> StatesAfter(std::uint32_t seed, int batch_count) {
  Batches batches(seed);
  std::vector<std::vector<core::Change>> states(1);
  for (int i = 0; i < batch_count; ++i) {
    std::vector<core::Change> state = states.back();
    for (const core::Change& change : batches.Next()) {
      if (const auto* gone = std::get_if<core::JobForgotten>(&change)) {
        std::erase_if(state,
                      [gone](const core::Change& c) { return std::get<core::JobAdded>(c).job == gone->job; });
      } else {
        state.push_back(change);
      }
    }
    states.push_back(std::move(state));
  }
  return states;
}

// Appends until it is killed; writes a byte for each batch that is on disk, a '-' first when anything fails.
[[noreturn]] void AppendForEver(const std::string& path, std::uint32_t seed, int fd) {
  Batches batches(seed);
  const auto journal = Journal::Open(path);
  bool good = journal.ok();
  while (good) {
    good = (*journal)->Append(batches.Next()).ok() && ::write(fd, "+", 1) == 1;
  }
  if (::write(fd, "-", 1) != 1) ::_exit(1);
  for (;;) ::pause();
}

class JournalCrash : public testing::TestWithParam<int> {};

TEST_P(JournalCrash, KeepsEveryAcknowledgedBatchAfterKill) {
  const auto seed = static_cast<std::uint32_t>(GetParam());
  const TempFolder folder;
  const std::string path = folder / "journal.db";
  int acks[2];
  ASSERT_EQ(::pipe(acks), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) AppendForEver(path, seed, acks[1]);
  ::close(acks[1]);

  // Killed after a random number of answers, and then anywhere within the next batch; seed 0 in its first
  // steps.
  std::mt19937 random(seed);
  const int answers = seed == 0 ? 0 : static_cast<int>(random() % 25);
  int acknowledged = 0;
  char answer = '+';
  while (acknowledged < answers && ::read(acks[0], &answer, 1) == 1 && answer == '+') ++acknowledged;
  for (volatile std::uint32_t spin = random() % 2'000'000; spin > 0;) spin = spin - 1;
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  while (::read(acks[0], &answer, 1) == 1 && answer == '+') ++acknowledged;
  ::close(acks[0]);
  ASSERT_EQ(answer, '+') << "the child could not write";

  const std::vector<std::vector<core::Change>> states = StatesAfter(seed, acknowledged + 1);
  const std::vector<core::Change> replayed = Replayed(*MustOpen(path));
  // One batch more may be there than was answered for.
  const auto found = std::find(states.begin() + acknowledged, states.end(), replayed);
  EXPECT_NE(found, states.end()) << replayed.size() << " changes are not " << acknowledged
                                 << " whole batches, nor one more";
}

INSTANTIATE_TEST_SUITE_P(Seeds, JournalCrash, testing::Range(0, 20));

// kill -9 leaves what was written; power loss may cut the log anywhere, or leave garbage at its end.
TEST(JournalPowerLoss, LeavesWholeBatchesWhereverTheLogIsCut) {
  constexpr std::uint32_t kSeed = 7;
  constexpr int kBatches = 40;
  const TempFolder folder;
  const std::string path = folder / "journal.db";
  const std::vector<std::vector<core::Change>> states = StatesAfter(kSeed, kBatches);
  const auto journal = MustOpen(path);
  Batches batches(kSeed);
  for (int i = 0; i < kBatches; ++i) ASSERT_TRUE(journal->Append(batches.Next()).ok());

  const auto log_bytes = static_cast<std::uint32_t>(std::filesystem::file_size(path + "-wal"));
  std::mt19937 random(kSeed);
  std::ptrdiff_t last_state = kBatches;
  std::vector<std::uint32_t> cuts = {log_bytes, 0};
  for (int i = 0; i < 60; ++i) cuts.push_back(random() % log_bytes);
  std::sort(cuts.rbegin(), cuts.rend());
  for (const std::uint32_t cut : cuts) {
    SCOPED_TRACE(absl::StrCat("cut at ", cut, " of ", log_bytes));
    const TempFolder copy;
    std::filesystem::copy_file(path, copy / "journal.db");
    std::filesystem::copy_file(path + "-wal", copy / "journal.db-wal");
    std::filesystem::resize_file(copy / "journal.db-wal", cut);
    if (cut % 2 == 1) std::ofstream(copy / "journal.db-wal", std::ios::app) << std::string(9000, '\x5a');
    const std::vector<core::Change> replayed = Replayed(*MustOpen(copy / "journal.db"));
    const auto found = std::find(states.begin(), states.end(), replayed);
    ASSERT_NE(found, states.end());
    EXPECT_LE(found - states.begin(), last_state);
    if (cut == log_bytes) {
      EXPECT_EQ(found - states.begin(), kBatches);
    }
    last_state = found - states.begin();
  }
  EXPECT_EQ(last_state, 0);
}

}  // namespace
}  // namespace ovi
