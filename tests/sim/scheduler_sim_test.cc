// Goal: no interleaving of crashes may over-promise a GPU, lose a job, publish a result twice or leave a
// group behind. Method: random events from a seed; what must hold is checked after every event, against the
// simulator's own books.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/sim/simulation.h"

namespace ovi::sim {
namespace {

class SchedulerSim : public testing::TestWithParam<int> {};

TEST_P(SchedulerSim, KeepsItsPromisesWhateverBreaks) {
  Simulation simulation(static_cast<std::uint64_t>(GetParam()));
  EXPECT_EQ(simulation.Run(), "") << "replay with --gtest_filter=*/" << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerSim, testing::Range(0, 300),
                         [](const auto& seed) { return absl::StrCat(seed.param); });

TEST(Simulator, ReachesEveryKindOfEnd) {
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Simulation simulation(seed);
    EXPECT_EQ(simulation.Run(), "");
    for (const auto& [what, count] : simulation.seen()) seen[what] += count;
  }
  for (const char* what :
       {"COMPLETED",     "OUT_OF_MEMORY",  "NODE_FAIL",     "GPU_ERROR",  "WORKER_CRASH",
        "TIMEOUT",       "LAUNCH_FAILED",  "BAD_INPUT",     "PREEMPTED",  "CANCELLED",
        "job COMPLETED", "job FAILED",     "job CANCELLED", "warm start", "cold start",
        "stop",          "fsdp",           "in standard",   "in fp8",     "in fp8_offload",
        "in ultra_low",  "NODE_NOT_READY", "low rank",      "limited",    "more than needed"}) {
    EXPECT_GT(seen[what], 0) << what;
  }
}

}  // namespace
}  // namespace ovi::sim
