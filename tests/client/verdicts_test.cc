// What doctor thinks of the figures it finds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/ovictl/checks.h"

namespace ovi::client {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

TEST(Verdicts, OnTheDisk) {
  const struct {
    std::int64_t bytes;
    Verdict verdict;
  } rows[] = {{5 * kGibibyte, Verdict::kOk},
              {5 * kGibibyte - 1, Verdict::kWarning},
              {kGibibyte / 2, Verdict::kWarning},
              {kGibibyte / 2 - 1, Verdict::kFail},
              {0, Verdict::kFail}};
  for (const auto& row : rows) {
    const CheckResult result = JudgeDisk("state disk", "/s", row.bytes);
    EXPECT_EQ(result.verdict, row.verdict) << row.bytes;
    EXPECT_EQ(result.hint.empty(), row.verdict == Verdict::kOk);
    EXPECT_THAT(result.detail, HasSubstr("/s: "));
  }
}

TEST(Verdicts, OnMemory) {
  EXPECT_EQ(JudgeMemory(4 * kGibibyte, 8 * kGibibyte).verdict, Verdict::kOk);
  EXPECT_EQ(JudgeMemory(4 * kGibibyte - 1, 8 * kGibibyte).verdict, Verdict::kWarning);
  EXPECT_EQ(JudgeMemory(kGibibyte - 1, 8 * kGibibyte).verdict, Verdict::kFail);
  EXPECT_EQ(JudgeMemory(6 * kGibibyte, 8 * kGibibyte).detail, "6.0 GiB available of 8.0 GiB");
}

TEST(Verdicts, OnTheClockAllowForTheTimeOfTheCall) {
  const struct {
    std::int64_t offset_ms, round_trip_ms;
    Verdict verdict;
    const char* detail;
  } rows[] = {{0, 3, Verdict::kOk, "within 3 ms of the coordinator's"},
              {-2000, 0, Verdict::kOk, "within 2000 ms of the coordinator's"},
              {2001, 0, Verdict::kWarning, "the coordinator's is 2.0 s ahead"},
              {2500, 1000, Verdict::kOk, "within 2000 ms of the coordinator's"},
              {-90'000, 10, Verdict::kWarning, "the coordinator's is 90.0 s behind"}};
  for (const auto& row : rows) {
    const CheckResult result = JudgeClock(row.offset_ms, row.round_trip_ms);
    EXPECT_EQ(result.verdict, row.verdict) << row.offset_ms;
    EXPECT_EQ(result.detail, row.detail);
  }
}

v1::Node NodeWith(const std::string& name, v1::NodeState state, int healthy, int faulty) {
  v1::Node node;
  node.set_name(name);
  node.set_state(state);
  for (int i = 0; i < healthy; ++i) node.add_gpus()->set_health(v1::GPU_HEALTH_OK);
  for (int i = 0; i < faulty; ++i) node.add_gpus()->set_health(v1::GPU_HEALTH_FAULTY);
  return node;
}

TEST(Verdicts, OnTheNodes) {
  const v1::Node good = NodeWith("a", v1::NODE_STATE_READY, 2, 1);
  const v1::Node lost = NodeWith("b", v1::NODE_STATE_LOST, 4, 0);
  const v1::Node sick = NodeWith("c", v1::NODE_STATE_READY, 0, 2);
  const struct {
    std::vector<v1::Node> nodes;
    Verdict verdict;
    const char* detail;
  } rows[] = {{{good}, Verdict::kOk, "1 of 1 ready, 2 healthy GPUs"},
              {{good, lost}, Verdict::kWarning, "1 of 2 ready, 2 healthy GPUs, b LOST"},
              {{lost}, Verdict::kFail, "0 of 1 ready, 0 healthy GPUs, b LOST"},
              {{sick}, Verdict::kFail, "1 of 1 ready, 0 healthy GPUs"},
              {{}, Verdict::kFail, "0 of 0 ready, 0 healthy GPUs"}};
  for (const auto& row : rows) {
    const CheckResult result = JudgeNodes(row.nodes);
    EXPECT_EQ(result.verdict, row.verdict) << row.detail;
    EXPECT_EQ(result.detail, row.detail);
    EXPECT_EQ(result.hint.empty(), row.verdict == Verdict::kOk);
  }
}

TEST(Verdicts, OnTheMpirunThatAnswers) {
  EXPECT_EQ(OpenMpiVersion("mpirun (Open MPI) 4.1.4\n\nReport bugs to ...\n"), "Open MPI 4.1.4");
  EXPECT_EQ(OpenMpiVersion("mpirun (Open MPI) 5.0.1"), "Open MPI 5.0.1");
  EXPECT_EQ(OpenMpiVersion("HYDRA build details:\n    Version: 4.0.2\n"), "");
  EXPECT_EQ(OpenMpiVersion(""), "");
}

}  // namespace
}  // namespace ovi::client
