// What is told to the coordinator, when and how often.
#include "worker/group/outbox.h"

#include <gtest/gtest.h>

namespace ovi {
namespace {

using std::chrono::milliseconds;

const Outbox::TimePoint kStart{std::chrono::hours(1)};

v1::AttemptProgress Step(int step, int memory_of_rank = -1) {
  v1::AttemptProgress progress;
  progress.mutable_progress()->set_step(step);
  if (memory_of_rank >= 0) progress.add_memory()->set_rank(memory_of_rank);
  return progress;
}

v1::AttemptFinished End(const char* job) {
  v1::AttemptFinished finished;
  finished.mutable_attempt()->set_job_id(job);
  return finished;
}

TEST(Outbox, HasNothingToTellAtFirst) {
  Outbox outbox;
  EXPECT_FALSE(outbox.Next(5, kStart));
  EXPECT_FALSE(outbox.beats());
}

TEST(Outbox, TellsTheNewestReportOnceWithAllMemory) {
  Outbox outbox;
  outbox.Report(Step(1, 0));
  outbox.Report(Step(2, 1));
  const std::optional<v1::GroupMessage> message = outbox.Next(0, kStart);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->progress().progress().step(), 2);
  EXPECT_EQ(message->progress().memory_size(), 2);
  EXPECT_FALSE(outbox.Next(0, kStart));
}

TEST(Outbox, RepeatsTheLastReportEverySecondOfSignsOfLife) {
  Outbox outbox;
  outbox.Report(Step(3, 0));
  ASSERT_TRUE(outbox.Next(10, kStart));
  EXPECT_FALSE(outbox.Next(11, kStart + milliseconds(999))) << "too early";
  EXPECT_FALSE(outbox.Next(10, kStart + milliseconds(5000))) << "no sign of life";
  const std::optional<v1::GroupMessage> again = outbox.Next(11, kStart + milliseconds(5000));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->progress().progress().step(), 3);
  EXPECT_EQ(again->progress().memory_size(), 0) << "memory is told once";
  EXPECT_FALSE(outbox.Next(12, kStart + milliseconds(5999)));
  EXPECT_TRUE(outbox.Next(12, kStart + milliseconds(6000)));
}

TEST(Outbox, TellsTheEndAfterTheLastReportAndOnceAStream) {
  Outbox outbox;
  outbox.Report(Step(4));
  outbox.Finish(End("7"));
  EXPECT_TRUE(outbox.Next(0, kStart)->has_progress());
  EXPECT_TRUE(outbox.Next(0, kStart)->has_finished());
  EXPECT_FALSE(outbox.Next(9, kStart + milliseconds(9000))) << "nothing more after the end";
  outbox.OnNewStream();
  EXPECT_TRUE(outbox.Next(9, kStart + milliseconds(9000))->has_finished());
  EXPECT_FALSE(outbox.Next(9, kStart + milliseconds(9000)));
}

TEST(Outbox, IsAcknowledgedByItsOwnAttemptOnceThatHasEnded) {
  Outbox outbox;
  v1::AttemptRef own;
  own.set_job_id("7");
  EXPECT_FALSE(outbox.IsAcknowledgedBy(own));
  outbox.Finish(End("7"));
  EXPECT_TRUE(outbox.IsAcknowledgedBy(own));
  v1::AttemptRef later = own;
  later.set_attempt(1);
  EXPECT_FALSE(outbox.IsAcknowledgedBy(later));
}

TEST(Outbox, ForgetsTheLastAttempt) {
  Outbox outbox;
  outbox.Report(Step(4));
  outbox.Finish(End("7"));
  outbox.Clear();
  EXPECT_FALSE(outbox.Next(1, kStart + milliseconds(9000)));
}

}  // namespace
}  // namespace ovi
