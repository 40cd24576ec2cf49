// A rank that is killed in the middle of an operation ends the whole group within a second: mpirun does it,
// and so nobody is left to wait.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/process_info.h"
#include "base/subprocess.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using Clock = std::chrono::steady_clock;

// What every rank has written down; -1 while it has not.
pid_t PidOf(const std::string& folder, int rank) {
  std::ifstream file(absl::StrCat(folder, "/", rank));
  pid_t pid = -1;
  file >> pid;
  return pid;
}

// mpirun kills the ranks and does not wait for them.
bool AllGoneBefore(Clock::time_point deadline, const std::vector<pid_t>& pids) {
  for (const pid_t pid : pids) {
    for (;;) {
      const std::optional<ProcessInfo> process = ReadProcess(pid);
      if (!process || process->state == 'Z') break;
      if (Clock::now() >= deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return true;
}

class LostRank : public testing::TestWithParam<const char*> {};

TEST_P(LostRank, EndsTheGroupWithinASecond) {
  constexpr int kRanks = 4;
  for (const int lost : {0, 2}) {  // the one that all wait for, and one that waits
    SCOPED_TRACE(lost);
    TempFolder folder;
    const auto group = Subprocess::Start({OVI_MPIEXEC, "-np", absl::StrCat(kRanks), "--oversubscribe",
                                          "--bind-to", "none", OVI_LOST_RANK, GetParam(), folder.path()},
                                         {});
    ASSERT_TRUE(group.ok()) << group.status();
    std::vector<pid_t> pids;
    for (int rank = 0; rank < kRanks; ++rank) {
      while (PidOf(folder.path(), rank) < 0) {
        ASSERT_FALSE((*group)->HasEnded()) << (*group)->stderr_tail();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      pids.push_back(PidOf(folder.path(), rank));
    }

    const Clock::time_point killed_at = Clock::now();
    ASSERT_EQ(kill(pids[static_cast<std::size_t>(lost)], SIGKILL), 0);
    const ExitStatus exit = (*group)->Wait();
    EXPECT_LT(Clock::now() - killed_at, std::chrono::seconds(1));
    EXPECT_TRUE(AllGoneBefore(killed_at + std::chrono::seconds(1), pids));
    EXPECT_EQ(exit.code, 128 + SIGKILL) << exit.ToString();
    EXPECT_THAT((*group)->stderr_tail(), testing::HasSubstr(absl::StrCat("process rank ", lost)));
  }
}

INSTANTIATE_TEST_SUITE_P(In, LostRank,
                         testing::Values("all_to_all", "all_gather", "broadcast", "send_receive"),
                         [](const auto& param_info) { return std::string(param_info.param); });

}  // namespace
}  // namespace ovi
