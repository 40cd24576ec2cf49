// The line to the coordinator: hellos, orders, reports, and what becomes of them when it breaks.
#include "worker/group/coordinator_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "tests/group/fake_coordinator.h"

namespace ovi {
namespace {

constexpr char kToken[] = "the-token";
constexpr std::chrono::milliseconds kLong{600'000};

CoordinatorLinkOptions Options(const FakeCoordinator& coordinator) {
  CoordinatorLinkOptions options{
      .address = coordinator.address(), .token = kToken, .insecure = true, .idle_max = kLong};
  options.hello.set_protocol_version(1);
  options.hello.set_group_id("g7-1");
  options.hello.set_world_size(2);
  return options;
}

v1::AttemptProgress Denoised(const v1::AttemptRef& attempt, int step) {
  v1::AttemptProgress progress;
  *progress.mutable_attempt() = attempt;
  progress.mutable_progress()->set_stage(v1::STAGE_DENOISE);
  progress.mutable_progress()->set_step(step);
  return progress;
}

v1::AttemptFinished Completed(const v1::AttemptRef& attempt) {
  v1::AttemptFinished finished;
  *finished.mutable_attempt() = attempt;
  finished.set_end(v1::ATTEMPT_END_COMPLETED);
  return finished;
}

// Orders the attempt and begins it.
void Begin(FakeCoordinator& coordinator, CoordinatorLink& link, const v1::AttemptRef& attempt) {
  ASSERT_TRUE(coordinator.Run(attempt, {}));
  const GroupOrder order = link.WaitForOrder();
  ASSERT_EQ(order.kind, GroupOrder::Kind::kRun);
  ASSERT_EQ(order.run.attempt().job_id(), attempt.job_id());
  ASSERT_EQ(order.run.attempt().attempt(), attempt.attempt());
  link.Begin(attempt);
}

TEST(CoordinatorLink, SaysHelloAndTakesAnAttemptToItsEnd) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  const std::vector<v1::GroupHello> hellos = coordinator.WaitForHellos(1);
  ASSERT_EQ(hellos.size(), 1u);
  EXPECT_EQ(hellos[0].group_id(), "g7-1");
  EXPECT_EQ(hellos[0].world_size(), 2);
  EXPECT_FALSE(hellos[0].has_running());

  const v1::AttemptRef attempt = RefOf("7", 1);
  Begin(coordinator, link, attempt);
  EXPECT_FALSE(link.interrupted());
  link.Report(Denoised(attempt, 3));
  EXPECT_TRUE(coordinator.WaitForProgress([](const auto& p) { return p.progress().step() == 3; }));
  EXPECT_EQ(link.Finish(Completed(attempt)), absl::OkStatus());
  EXPECT_EQ(coordinator.WaitForFinished(1).size(), 1u);
}

TEST(CoordinatorLink, AfterABreakSaysWhereItIs) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef attempt = RefOf("7", 2);
  Begin(coordinator, link, attempt);
  coordinator.BreakStreams();
  const std::vector<v1::GroupHello> hellos = coordinator.WaitForHellos(2);
  ASSERT_EQ(hellos.size(), 2u);
  EXPECT_EQ(hellos[1].running().job_id(), "7");
  EXPECT_EQ(hellos[1].running().attempt(), 2);
  EXPECT_FALSE(link.interrupted()) << "it computes on";
  EXPECT_EQ(link.Finish(Completed(attempt)), absl::OkStatus());
  coordinator.BreakStreams();
  EXPECT_FALSE(coordinator.WaitForHellos(3).at(2).has_running());
}

TEST(CoordinatorLink, TellsTheEndAgainUntilItIsAcknowledged) {
  FakeCoordinator coordinator(kToken);
  coordinator.set_acknowledges(false);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef attempt = RefOf("7", 1);
  Begin(coordinator, link, attempt);
  absl::Status status = absl::UnknownError("not yet");
  std::thread finishing([&] { status = link.Finish(Completed(attempt)); });
  coordinator.WaitForFinished(1);
  coordinator.Acknowledge(RefOf("6", 1));  // somebody else's
  coordinator.Stop();
  coordinator.Start();
  const std::vector<v1::AttemptFinished> told = coordinator.WaitForFinished(2);
  EXPECT_EQ(told.size(), 2u);
  EXPECT_TRUE(coordinator.WaitForHellos(2).at(1).has_running());
  coordinator.Acknowledge(attempt);
  finishing.join();
  EXPECT_EQ(status, absl::OkStatus());
}

TEST(CoordinatorLink, GivesUpAResultThatNobodyTakes) {
  FakeCoordinator coordinator(kToken);
  coordinator.set_acknowledges(false);
  CoordinatorLinkOptions options = Options(coordinator);
  options.delivery_max = std::chrono::milliseconds(50);
  CoordinatorLink link(std::move(options));
  coordinator.WaitForHellos(1);
  Begin(coordinator, link, RefOf("7", 1));
  EXPECT_EQ(link.Finish(Completed(RefOf("7", 1))).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(CoordinatorLink, TakesAnOrderThatComesTwiceOnce) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef first = RefOf("7", 1);
  coordinator.Run(first, {});
  coordinator.Run(first, {});
  Begin(coordinator, link, first);
  coordinator.Run(first, {});
  EXPECT_EQ(link.Finish(Completed(first)), absl::OkStatus());
  Begin(coordinator, link, RefOf("8", 1));
}

TEST(CoordinatorLink, CancelsTheAttemptItNamesAndNoOther) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef first = RefOf("7", 1);
  Begin(coordinator, link, first);
  const v1::AttemptRef second = RefOf("8", 1);
  coordinator.Run(second, {});
  coordinator.Cancel(RefOf("7", 2));
  coordinator.Cancel(second);  // waits in the queue
  coordinator.Cancel(first);
  EXPECT_FALSE(link.Pause(kLong)) << "an interruption cuts it short";
  EXPECT_TRUE(link.interrupted());
  EXPECT_FALSE(link.ending());
  EXPECT_EQ(link.Finish(Completed(first)), absl::OkStatus());
  ASSERT_EQ(link.WaitForOrder().run.attempt().job_id(), "8");
  link.Begin(second);
  EXPECT_TRUE(link.interrupted()) << "it was cancelled before it began";
  EXPECT_EQ(link.Finish(Completed(second)), absl::OkStatus());
  Begin(coordinator, link, RefOf("9", 1));
  EXPECT_FALSE(link.interrupted());
}

TEST(CoordinatorLink, EndsWhenToldSoAlsoInTheMiddleOfAnAttempt) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  Begin(coordinator, link, RefOf("7", 1));
  coordinator.ShutDown();
  EXPECT_FALSE(link.Pause(kLong));
  EXPECT_TRUE(link.ending());
  EXPECT_TRUE(link.interrupted());
  EXPECT_EQ(link.WaitForOrder().kind, GroupOrder::Kind::kShutDown);
}

TEST(CoordinatorLink, IsRefusedWithAWrongToken) {
  FakeCoordinator coordinator("another-token");
  CoordinatorLink link(Options(coordinator));
  const GroupOrder order = link.WaitForOrder();
  EXPECT_EQ(order.kind, GroupOrder::Kind::kRejected);
  EXPECT_THAT(order.reason, testing::HasSubstr("wrong token"));
  EXPECT_THAT(order.reason, testing::Not(testing::HasSubstr(kToken)));
  EXPECT_EQ(coordinator.streams_begun(), 1u) << "dialling again would not help";
}

TEST(CoordinatorLink, EndsAfterALongSilenceWhileIdle) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLinkOptions options = Options(coordinator);
  options.idle_max = std::chrono::milliseconds(300);
  coordinator.Stop();
  CoordinatorLink link(std::move(options));
  const GroupOrder order = link.WaitForOrder();
  EXPECT_EQ(order.kind, GroupOrder::Kind::kSilence);
  EXPECT_THAT(order.reason, testing::HasSubstr("300 ms"));
}

TEST(CoordinatorLink, SilenceDoesNotEndAnAttempt) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLinkOptions options = Options(coordinator);
  options.idle_max = std::chrono::milliseconds(1'000);
  CoordinatorLink link(std::move(options));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef attempt = RefOf("7", 1);
  Begin(coordinator, link, attempt);
  coordinator.Stop();
  EXPECT_TRUE(link.Pause(std::chrono::milliseconds(1'500))) << "an interruption";
  coordinator.Start();
  EXPECT_EQ(link.Finish(Completed(attempt)), absl::OkStatus());
  EXPECT_FALSE(link.ending());
}

TEST(CoordinatorLink, RepeatsTheLastReportWhileThereAreSignsOfLife) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef attempt = RefOf("7", 1);
  Begin(coordinator, link, attempt);
  v1::AttemptProgress progress = Denoised(attempt, 4);
  progress.add_memory()->set_rank(1);
  link.Report(progress);
  int count = 0;
  int with_memory = 0;
  while (count < 3) {
    link.Beat();
    ASSERT_TRUE(link.Pause(std::chrono::milliseconds(10)));
    count = 0;
    with_memory = 0;
    for (const v1::AttemptProgress& told : coordinator.progress()) {
      count += told.progress().step() == 4 ? 1 : 0;
      with_memory += told.memory_size();
    }
  }
  EXPECT_EQ(with_memory, 1) << "memory is told once";
}

TEST(CoordinatorLink, IsQuietWhenTheComputingThreadShowsNoLife) {
  FakeCoordinator coordinator(kToken);
  CoordinatorLink link(Options(coordinator));
  coordinator.WaitForHellos(1);
  const v1::AttemptRef attempt = RefOf("7", 1);
  Begin(coordinator, link, attempt);
  link.Report(Denoised(attempt, 4));
  ASSERT_TRUE(coordinator.WaitForProgress([](const auto& p) { return p.progress().step() == 4; }));
  ASSERT_TRUE(link.Pause(std::chrono::milliseconds(1'600)));  // past the time of a heartbeat
  link.Report(Denoised(attempt, 5));
  ASSERT_TRUE(coordinator.WaitForProgress([](const auto& p) { return p.progress().step() == 5; }));
  EXPECT_EQ(coordinator.progress().size(), 2u);
}

}  // namespace
}  // namespace ovi
