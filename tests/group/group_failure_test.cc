// What a group survives, and how it ends when it does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/group/fake_coordinator.h"
#include "tests/group/group_process.h"

namespace ovi {
namespace {

const v1::AttemptRef kFirst = RefOf("12", 1);
const v1::AttemptRef kSecond = RefOf("13", 1);

bool Denoises(const v1::AttemptProgress& message) {
  return message.progress().stage() == v1::STAGE_DENOISE && message.progress().step() >= 1;
}
bool Decodes(const v1::AttemptProgress& message) {
  return message.progress().stage() == v1::STAGE_DECODE && message.progress().step() >= 1;
}

// A group in the middle of a clip that would take long.
class BusyGroup : public testing::TestWithParam<int> {
 protected:
  BusyGroup() : coordinator_(kGroupToken), group_(FactsFor(coordinator_, GetParam()), GetParam()) {}
  void SetUp() override {
    ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
    ASSERT_TRUE(coordinator_.Run(kFirst, MiniJobSpec(1000)));
    ASSERT_TRUE(coordinator_.WaitForProgress(Denoises));
  }
  // No process of it is there any more, and it has told nothing about the attempt.
  void ExpectGoneSilently() {
    EXPECT_TRUE(group_.WaitUntilNothingLives());
    EXPECT_TRUE(coordinator_.WaitForHangUp());
    EXPECT_EQ(coordinator_.finished_count(), 0u);
  }

  FakeCoordinator coordinator_;
  GroupProcess group_;
};

TEST_P(BusyGroup, EndsWithAKilledRank) {
  const std::vector<pid_t> ranks = group_.RankPids();
  ASSERT_EQ(static_cast<int>(ranks.size()), GetParam());
  ASSERT_EQ(kill(ranks.back(), SIGKILL), 0);
  const ExitStatus exit = group_.WaitForEnd();
  EXPECT_EQ(exit.code, 128 + SIGKILL) << exit.ToString();
  ExpectGoneSilently();
}

TEST_P(BusyGroup, EndsWithAKilledMpirun) {
  group_.Signal(SIGKILL);
  EXPECT_EQ(group_.WaitForEnd().signal, SIGKILL);
  ExpectGoneSilently();
}

TEST_P(BusyGroup, EndsOnSigtermAndTellsNothingFalse) {
  group_.Signal(SIGTERM);
  EXPECT_FALSE(group_.WaitForEnd().ok());
  ExpectGoneSilently();
}

TEST_P(BusyGroup, EndsOnShutDownInTheMiddleOfAClip) {
  ASSERT_TRUE(coordinator_.ShutDown());
  EXPECT_TRUE(group_.WaitForEnd().ok()) << group_.log();
  ExpectGoneSilently();
}

TEST_P(BusyGroup, EndsWhenItIsGivenUp) {
  coordinator_.RefuseGroups(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "given up"));
  coordinator_.BreakStreams();
  EXPECT_EQ(group_.WaitForEnd().code, v1::GROUP_EXIT_CODE_REJECTED) << group_.log();
  ExpectGoneSilently();
}

TEST_P(BusyGroup, ComputesOnWhileTheCoordinatorIsAway) {
  coordinator_.Stop();
  coordinator_.Start();
  const std::vector<v1::GroupHello> hellos = coordinator_.WaitForHellos(2);
  ASSERT_EQ(hellos.size(), 2u);
  EXPECT_EQ(hellos[1].running().job_id(), "12");
  const std::size_t told = coordinator_.progress().size();
  const int step = coordinator_.progress().back().progress().step();
  EXPECT_TRUE(coordinator_.WaitForProgress(
      [&](const v1::AttemptProgress& message) { return message.progress().step() > step; }));
  EXPECT_GT(coordinator_.progress().size(), told);
  ASSERT_TRUE(coordinator_.Cancel(kFirst));
  EXPECT_EQ(coordinator_.WaitForFinished(1).at(0).end(), v1::ATTEMPT_END_CANCELLED);
}

INSTANTIATE_TEST_SUITE_P(Group, BusyGroup, testing::Values(1, 2, 4),
                         [](const testing::TestParamInfo<int>& ranks) {
                           return "Of" + std::to_string(ranks.param);
                         });

TEST(GroupFailure, LeavesNoEncoderBehindWhenItIsEndedWhileDecoding) {
  for (const int signal : {SIGTERM, SIGKILL}) {
    FakeCoordinator coordinator(kGroupToken);
    GroupProcess group(FactsFor(coordinator, 2), 2);
    ASSERT_EQ(coordinator.WaitForHellos(1).size(), 1u);
    ASSERT_TRUE(coordinator.Run(kFirst, MiniJobSpec(1)));
    ASSERT_TRUE(coordinator.WaitForProgress(Decodes));
    group.Signal(signal);
    group.WaitForEnd();
    EXPECT_TRUE(group.WaitUntilNothingLives());
  }
}

TEST(GroupFailure, HandsOverWhenTheCoordinatorIsBack) {
  FakeCoordinator coordinator(kGroupToken);
  GroupProcess group(FactsFor(coordinator, 2), 2);
  ASSERT_EQ(coordinator.WaitForHellos(1).size(), 1u);
  ASSERT_TRUE(coordinator.Run(kFirst, MiniJobSpec(2)));
  ASSERT_TRUE(coordinator.WaitForProgress(Decodes));
  coordinator.Stop();
  // It has the clip before anybody is there to take it.
  while (group.folder().Files("video.mp4").empty()) ASSERT_FALSE(group.Living().empty());
  coordinator.Start();
  const std::vector<v1::AttemptFinished> finished = coordinator.WaitForFinished(1);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].end(), v1::ATTEMPT_END_COMPLETED) << finished[0].message();
  EXPECT_EQ(coordinator.artifacts().size(), 3u);
  EXPECT_EQ(coordinator.WaitForHellos(2).at(1).running().job_id(), "12");
}

TEST(GroupFailure, SendsAgainWhatDidNotArrive) {
  FakeCoordinator coordinator(kGroupToken);
  GroupProcess group(FactsFor(coordinator, 1), 1);
  ASSERT_EQ(coordinator.WaitForHellos(1).size(), 1u);
  coordinator.FailUploads(
      {{grpc::StatusCode::UNAVAILABLE, "busy"}, {grpc::StatusCode::DATA_LOSS, "damaged"}});
  ASSERT_TRUE(coordinator.Run(kFirst, MiniJobSpec(1)));
  EXPECT_EQ(coordinator.WaitForFinished(1).at(0).end(), v1::ATTEMPT_END_COMPLETED);
  EXPECT_EQ(coordinator.uploads_refused(), 2);
  EXPECT_EQ(coordinator.artifacts().size(), 3u);
}

TEST(GroupFailure, AnAttemptWhoseFilesNobodyWantsEndsAndTheGroupGoesOn) {
  FakeCoordinator coordinator(kGroupToken);
  GroupProcess group(FactsFor(coordinator, 1), 1);
  ASSERT_EQ(coordinator.WaitForHellos(1).size(), 1u);
  const struct {
    grpc::Status status;
    const char* job;
  } rows[] = {{{grpc::StatusCode::FAILED_PRECONDITION, "no longer the current attempt"}, "20"},
              {{grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full"}, "21"}};
  std::size_t count = 0;
  for (const auto& row : rows) {
    coordinator.FailUploads({row.status});
    ASSERT_TRUE(coordinator.Run(RefOf(row.job, 1), MiniJobSpec(1)));
    const std::vector<v1::AttemptFinished> finished = coordinator.WaitForFinished(++count);
    ASSERT_EQ(finished.size(), count);
    EXPECT_EQ(finished.back().end(), v1::ATTEMPT_END_WORKER_CRASH) << "no memory of ours was short";
    EXPECT_THAT(finished.back().message(), testing::HasSubstr(row.status.error_message()));
  }
  ASSERT_TRUE(coordinator.Run(kSecond, MiniJobSpec(1)));
  EXPECT_EQ(coordinator.WaitForFinished(++count).back().end(), v1::ATTEMPT_END_COMPLETED);
}

TEST(GroupFailure, SaysHowMuchMemoryWasMissingAndGoesOn) {
  for (const int ranks : {1, 2}) {
    FakeCoordinator coordinator(kGroupToken);
    GroupFacts facts = FactsFor(coordinator, ranks);
    facts.bytes_per_rank = 8 << 20;  // enough to encode, too little to denoise or decode
    GroupProcess group(facts, ranks);
    ASSERT_EQ(coordinator.WaitForHellos(1).size(), 1u);
    for (const v1::AttemptRef& attempt : {kFirst, kSecond}) {
      const std::size_t before = coordinator.finished_count();
      ASSERT_TRUE(coordinator.Run(attempt, MiniJobSpec(2)));
      const std::vector<v1::AttemptFinished> finished = coordinator.WaitForFinished(before + 1);
      ASSERT_EQ(finished.size(), before + 1);
      EXPECT_EQ(finished.back().end(), v1::ATTEMPT_END_OUT_OF_MEMORY);
      EXPECT_THAT(finished.back().message(), testing::HasSubstr("bytes_max=8388608"));
      EXPECT_THAT(finished.back().message(), testing::HasSubstr("the least is taken by"));
      EXPECT_EQ(finished.back().memory_size(), 0) << "by the plan, before anything is computed";
    }
    coordinator.ShutDown();
    EXPECT_TRUE(group.WaitForEnd().ok()) << group.log();
  }
}

TEST(GroupFailure, EndsWithAWrongToken) {
  FakeCoordinator coordinator("another token");
  GroupProcess group(FactsFor(coordinator, 2), 2);
  EXPECT_EQ(group.WaitForEnd().code, v1::GROUP_EXIT_CODE_REJECTED) << group.log();
  EXPECT_TRUE(group.WaitUntilNothingLives());
  EXPECT_THAT(group.log(), testing::Not(testing::HasSubstr(kGroupToken)));
}

TEST(GroupFailure, EndsWhenNobodyAnswersWhileItIsIdle) {
  FakeCoordinator coordinator(kGroupToken);
  GroupFacts facts = FactsFor(coordinator, 2);
  facts.idle_timeout_ms = 1'000;
  coordinator.Stop();
  GroupProcess group(facts, 2);
  EXPECT_EQ(group.WaitForEnd().code, v1::GROUP_EXIT_CODE_COORDINATOR_LOST) << group.log();
  EXPECT_TRUE(group.WaitUntilNothingLives());
}

TEST(GroupFailure, RefusesToStartWithWhatItCannotWorkWith) {
  const struct {
    const char* name;
    int ranks;
    void (*change)(GroupFacts& facts);
    const char* says;
  } rows[] = {
      {"GPUs of another number", 2, [](GroupFacts& facts) { facts.gpu_indices = {0}; }, "gpu_indices"},
      {"an unknown model", 1, [](GroupFacts& facts) { facts.model_name = "no-such-model"; }, "no-such-model"},
      {"a model without weights", 2, [](GroupFacts& facts) { facts.model_name = "720x720_5s"; }, "missing"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    FakeCoordinator coordinator(kGroupToken);
    GroupFacts facts = FactsFor(coordinator, row.ranks);
    row.change(facts);
    GroupProcess group(facts, row.ranks);
    EXPECT_EQ(group.WaitForEnd().code, v1::GROUP_EXIT_CODE_BAD_INPUT);
    EXPECT_THAT(group.log(), testing::HasSubstr(row.says));
    EXPECT_TRUE(group.WaitUntilNothingLives());
    EXPECT_EQ(coordinator.streams_begun(), 0u);
  }
}

}  // namespace
}  // namespace ovi
