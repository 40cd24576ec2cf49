// Two ranks over real MPI. mpirun starts this program twice; both run every test, each its own side of it.
#include "worker/group/peer_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

MpiSession* session = nullptr;

bool Leads() {
  return session->rank() == 0;
}

std::uint32_t NextSequence() {
  static std::uint32_t sequence = 0;  // both ranks run the same tests in the same order
  return ++sequence;
}

std::uint32_t last_sequence = 0;

PeerLink NewLink(std::function<absl::Status()> stop = nullptr) {
  last_sequence = NextSequence();
  return PeerLink(*session, Leads() ? GuidancePass::kPositive : GuidancePass::kNegative, last_sequence,
                  std::move(stop));
}

std::vector<float> Numbers(std::size_t count, float from) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = from + static_cast<float>(i);
  return values;
}

TEST(PeerLink, KnowsWhereItIs) {
  EXPECT_EQ(session->size(), 2);
  EXPECT_EQ(session->ranks_on_node(), 2);
  PeerLink link = NewLink();
  EXPECT_EQ(link.pass(), Leads() ? GuidancePass::kPositive : GuidancePass::kNegative);
  ASSERT_TRUE(link.Settle(absl::OkStatus(), {}).ok());
}

TEST(PeerLink, BothMaySendFirstHoweverMuch) {
  PeerLink link = NewLink();
  // Nothing, what fits into one message of the transport, and what a 10 s clip of the largest preset has.
  for (const std::size_t count : {std::size_t{0}, std::size_t{100}, std::size_t{11'000'000}}) {
    const float mine = Leads() ? 1000.0f : 2000.0f;
    const float other = Leads() ? 2000.0f : 1000.0f;
    ASSERT_EQ(link.Send(Numbers(count, mine)), absl::OkStatus());
    ASSERT_EQ(link.Send(Numbers(3, mine + 1)), absl::OkStatus());
    std::vector<float> received;
    ASSERT_EQ(link.Receive(received), absl::OkStatus());
    EXPECT_EQ(received, Numbers(count, other));
    ASSERT_EQ(link.Receive(received), absl::OkStatus());
    EXPECT_EQ(received, Numbers(3, other + 1)) << "in the order they were sent";
  }
  ASSERT_TRUE(link.Settle(absl::OkStatus(), {}).ok());
}

TEST(PeerLink, EachLearnsHowItWentOnTheOther) {
  PeerLink link = NewLink();
  const std::vector<StageReport> stages = {{Stage::kDenoise, 1.5, Leads() ? 640 : 6400}};
  const absl::Status mine = Leads() ? absl::OkStatus() : absl::ResourceExhaustedError("no room");
  const absl::StatusOr<PeerOutcome> other = link.Settle(mine, stages);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->status, Leads() ? absl::ResourceExhaustedError("no room") : absl::OkStatus());
  ASSERT_EQ(other->stages.size(), 1u);
  EXPECT_EQ(other->stages[0].stage, Stage::kDenoise);
  EXPECT_EQ(other->stages[0].seconds, 1.5);
  EXPECT_EQ(other->stages[0].arena_bytes_peak, Leads() ? 6400 : 640);
}

TEST(PeerLink, AFailureOfOneEndsTheWaitOfTheOtherAndLeavesNothingBehind) {
  for (const bool leader_fails : {true, false}) {
    PeerLink link = NewLink();
    absl::Status status = absl::UnavailableError("disk full");
    if (Leads() != leader_fails) {
      // It has sent what nobody will take, and waits for what never comes.
      ASSERT_EQ(link.Send(Numbers(5, 0)), absl::OkStatus());
      std::vector<float> received;
      status = link.Receive(received);
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr("disk full"));
      EXPECT_EQ(link.Interruption().code(), absl::StatusCode::kAborted);
    }
    ASSERT_TRUE(link.Settle(status, {}).ok());
    for (const MessageKind kind : {MessageKind::kOutcome, MessageKind::kValues}) {
      const absl::StatusOr<bool> left = session->HasMessage(1 - session->rank(), {kind, last_sequence});
      ASSERT_TRUE(left.ok());
      EXPECT_FALSE(*left) << static_cast<int>(kind);
    }
  }
}

TEST(PeerLink, InterruptionIsNoticedWithoutWaiting) {
  PeerLink link = NewLink();
  absl::Status status;
  if (Leads()) {
    status = absl::CancelledError("cancelled");
  } else {
    // As between the blocks of a network that computes on.
    while (status.ok()) status = link.Interruption();
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  }
  ASSERT_TRUE(link.Settle(status, {}).ok());
}

TEST(PeerLink, AStopEndsTheWait) {
  int asked = 0;
  const auto stop = [&asked]() -> absl::Status {
    return ++asked < 3 ? absl::OkStatus() : absl::CancelledError("cancelled");
  };
  PeerLink link = Leads() ? NewLink(stop) : NewLink();
  std::vector<float> received;  // both wait for the other
  const absl::Status status = link.Receive(received);
  EXPECT_EQ(status.code(), Leads() ? absl::StatusCode::kCancelled : absl::StatusCode::kAborted) << status;
  ASSERT_TRUE(link.Settle(status, {}).ok());
}

// A device of its own for each rank.
struct Device {
  explicit Device(std::int64_t bytes) : backend(MakeCpuBackend()) {
    absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
    EXPECT_TRUE(model.ok()) << model.status();
    absl::StatusOr<std::unique_ptr<Engine>> made = Engine::Create(*backend, bytes, *std::move(model));
    EXPECT_TRUE(made.ok()) << made.status();
    engine = *std::move(made);
  }
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> engine;
};

class NoSink final : public ClipSink {
 public:
  absl::Status Begin(const ClipInfo&, std::span<const float>) override { return absl::OkStatus(); }
  absl::Status AddFrames(std::span<const std::uint8_t>) override { return absl::OkStatus(); }
  absl::Status Finish() override { return absl::OkStatus(); }
};

ClipRequest Clip(const ModelFolder& model) {
  JobSpec job;
  job.sample_steps = 2;
  const absl::StatusOr<ClipRequest> clip =
      ResolveClip(job, {.text = "A red circle moves right. Audio: a low tone."}, 0, model, std::nullopt);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return clip.value_or(ClipRequest{});
}

// This rank's part of one clip, settled.
struct Part {
  absl::StatusOr<ClipReport> report;
  absl::StatusOr<PeerOutcome> other;
};

Part Compute(Device& device) {
  PeerLink link = NewLink();
  const Control control{.interruption = [&link] { return link.Interruption(); }};
  const ClipRequest clip = Clip(device.engine->model());
  NoSink sink;
  Part part;
  part.report = Leads() ? device.engine->Generate(clip, {}, control, sink, &link)
                        : device.engine->Assist(clip, {}, control, link);
  part.other = link.Settle(part.report.status(), {});
  return part;
}

TEST(PeerLink, ARankWithoutRoomEndsTheClipOnBothAndTheNextOneIsRight) {
  constexpr std::int64_t kPlenty = std::int64_t{256} << 20;
  std::vector<float> alone;
  {
    Device device(kPlenty);
    NoSink sink;
    const absl::StatusOr<ClipReport> report =
        device.engine->Generate(Clip(device.engine->model()), {}, {}, sink);
    ASSERT_TRUE(report.ok()) << report.status();
    alone = report->latents.video;
  }
  for (const int small_rank : {0, 1}) {
    SCOPED_TRACE(small_rank);
    Device device(session->rank() == small_rank ? 1 << 20 : kPlenty);
    const Part part = Compute(device);
    ASSERT_TRUE(part.other.ok()) << part.other.status();
    const absl::Status& small = session->rank() == small_rank ? part.report.status() : part.other->status;
    const absl::Status& large = session->rank() == small_rank ? part.other->status : part.report.status();
    EXPECT_EQ(small.code(), absl::StatusCode::kResourceExhausted) << small;
    EXPECT_EQ(large.code(), absl::StatusCode::kAborted) << large;

    Device enough(kPlenty);
    const Part next = Compute(enough);
    ASSERT_TRUE(next.report.ok()) << next.report.status();
    EXPECT_EQ(next.report->latents.video, alone);
  }
}

}  // namespace
}  // namespace ovi

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  absl::StatusOr<std::unique_ptr<ovi::MpiSession>> started = ovi::MpiSession::Start();
  if (!started.ok()) return 1;
  ovi::session = started->get();
  const int failed = RUN_ALL_TESTS();
  // A rank that stopped at a failed assertion will not answer the other any more.
  if (failed != 0) ovi::session->Abort(1);
  return 0;
}
