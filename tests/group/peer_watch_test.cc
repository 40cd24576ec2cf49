// The ranks of a group over real MPI: what each says of its part of an attempt, and clips they make together.
#include "worker/group/peer_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "tests/parallel/rank_main.h"
#include "tests/pipeline/clip_sinks.h"
#include "tests/pipeline/mini_model.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/pipeline/engine.h"
#include "worker/plan/memory_need.h"

namespace ovi {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kPlenty = std::int64_t{256} << 20;

int Rank() {
  return Session().rank();
}
int Ranks() {
  return Session().size();
}
int Last() {
  return Ranks() - 1;
}

std::uint32_t NextSequence() {
  static std::uint32_t sequence = 0;  // all ranks run the same tests in the same order
  return ++sequence;
}

TEST(PeerWatch, EachLearnsHowItWentOnTheOthers) {
  PeerWatch watch(Session(), NextSequence());
  const PeerOutcome mine{
      .status = Rank() == Last() ? absl::ResourceExhaustedError("no room") : absl::OkStatus(),
      .stages = {{Stage::kDenoise, 1.5, 640 + Rank()}}};
  const absl::StatusOr<std::vector<PeerOutcome>> told = watch.Settle(mine, {});
  ASSERT_TRUE(told.ok()) << told.status();
  ASSERT_EQ(told->size(), static_cast<std::size_t>(Ranks()));
  for (int rank = 0; rank < Ranks(); ++rank) {
    const PeerOutcome& word = (*told)[static_cast<std::size_t>(rank)];
    EXPECT_EQ(word.status, rank == Last() ? absl::ResourceExhaustedError("no room") : absl::OkStatus());
    ASSERT_EQ(word.stages.size(), 1u);
    EXPECT_EQ(word.stages[0].arena_bytes_peak, 640 + rank);
  }
}

TEST(PeerWatch, AFailureIsHeardByAllOthersWithItsRank) {
  if (Ranks() == 1) GTEST_SKIP() << "nobody to hear it";
  PeerWatch watch(Session(), NextSequence());
  absl::Status status = absl::UnavailableError("disk full");
  if (Rank() != Last()) {
    // As between the blocks of a network that computes on.
    do {
      status = watch.Interruption();
    } while (status.ok());
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(std::string(status.message()), absl::StrCat("rank ", Last(), ": disk full"));
  }
  const auto told = watch.Settle({.status = status, .stages = {}}, {});
  ASSERT_TRUE(told.ok()) << told.status();
  const absl::StatusOr<bool> left = Session().HasMessage(Rank() == 0 ? Last() : 0, {MessageKind::kOutcome});
  ASSERT_TRUE(left.ok());
  EXPECT_FALSE(*left);
}

// A device of its own for each rank, and the group.
struct Device {
  explicit Device(std::int64_t bytes) : backend(MakeCpuBackend()), world(*NewMpiCommunicator({})) {
    cpu::SetThreadCount(1);
    absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
    EXPECT_TRUE(model.ok()) << model.status();
    absl::StatusOr<std::unique_ptr<Engine>> made = Engine::Create(*backend, bytes, *std::move(model));
    EXPECT_TRUE(made.ok()) << made.status();
    engine = *std::move(made);
  }
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Communicator> world;
  std::unique_ptr<Engine> engine;
};

ClipRequest Clip(const ModelFolder& model, Precision precision, std::optional<FrameSize> image) {
  JobSpec job;
  job.sample_steps = 2;
  job.precision = precision;
  job.mode = image ? Mode::kI2v : Mode::kT2v;
  const absl::StatusOr<ClipRequest> clip =
      ResolveClip(job, {.text = "A red circle moves right. Audio: a low tone."}, 0, model, image);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return clip.value_or(ClipRequest{});
}

ClipInputs InputsOf(const ClipRequest& clip) {
  ClipInputs inputs;
  if (clip.image_to_video) {
    inputs.image.resize(static_cast<std::size_t>(3 * clip.size.height * clip.size.width));
    for (std::size_t i = 0; i < inputs.image.size(); ++i) {
      inputs.image[i] = static_cast<float>(i % 97) / 48.5f - 1.0f;
    }
  }
  return inputs;
}

// This rank's part of one clip, settled.
struct Part {
  absl::StatusOr<ClipReport> report;
  absl::StatusOr<std::vector<PeerOutcome>> told;
};

// Whether to shard the weights: either, but for numbers of ranks that do not divide the model's 8 heads.
// Those need fsdp, which then has spare ranks.
std::vector<bool> WaysToShard() {
  return Ranks() == 3 ? std::vector<bool>{true} : std::vector<bool>{false, true};
}

Topology TopologyOf(const Device& device, bool fsdp) {
  return *ChooseTopology({.world_size = Ranks(),
                          .gpus = {.allocation = fsdp ? GpuAllocation::kFsdp : GpuAllocation::kAuto},
                          .heads = static_cast<int>(device.engine->model().fusion.video.heads)});
}

Part Compute(Device& device, const ClipRequest& clip, bool fsdp, ClipSink& sink) {
  const std::unique_ptr<RankGroup> ranks = *RankGroup::Make(*device.world, TopologyOf(device, fsdp), {});
  PeerWatch watch(Session(), NextSequence());
  const auto interruption = [&watch] { return watch.Interruption(); };
  device.world->SetInterruption(interruption);
  const Control control{.interruption = interruption};
  Part part;
  part.report = ranks->leads() ? device.engine->Generate(clip, InputsOf(clip), control, sink, ranks.get())
                               : device.engine->Assist(clip, {}, control, *ranks);
  part.told = watch.Settle({.status = part.report.status(), .stages = {}}, ranks->communicators());
  device.world->SetInterruption(nullptr);
  return part;
}

TEST(RankGroup, MakesTheClipThatOneRankMakes) {
  for (const Precision precision : {Precision::kReference, Precision::kAsExecuted}) {
    for (const std::optional<FrameSize> image :
         {std::optional<FrameSize>(), std::optional(FrameSize{96, 96})}) {
      Device device(kPlenty);
      const ClipRequest clip = Clip(device.engine->model(), precision, image);
      KeepingSink alone;
      if (Rank() == 0) {
        const absl::StatusOr<ClipReport> report = device.engine->Generate(clip, InputsOf(clip), {}, alone);
        ASSERT_TRUE(report.ok()) << report.status();
      }
      for (const bool fsdp : WaysToShard()) {
        SCOPED_TRACE(absl::StrCat(precision == Precision::kReference ? "f32" : "bf16",
                                  image ? " i2v" : " t2v", fsdp ? " fsdp" : ""));
        KeepingSink together;
        const Part part = Compute(device, clip, fsdp, together);
        ASSERT_TRUE(part.report.ok()) << part.report.status();
        ASSERT_TRUE(part.told.ok()) << part.told.status();
        if (Rank() != 0) continue;
        ASSERT_EQ(together.frames.size(), alone.frames.size());
        ASSERT_EQ(together.audio.size(), alone.audio.size());
        // A value on the edge of two bytes may fall on the other side; bf16 latents differ in their last
        // bits.
        double sum = 0;
        int largest = 0;
        for (std::size_t i = 0; i < alone.frames.size(); ++i) {
          const int difference = std::abs(together.frames[i] - alone.frames[i]);
          sum += difference;
          largest = std::max(largest, difference);
        }
        const double mean = sum / static_cast<double>(alone.frames.size());
        if (precision == Precision::kReference) {
          EXPECT_LE(largest, 1);
          EXPECT_LE(mean, 1e-3);
        } else {
          EXPECT_LE(mean, 4.0);
        }
      }
    }
  }
}

TEST(RankGroup, EveryRankTakesTheMemoryThatIsPlannedForIt) {
  for (const std::optional<FrameSize> image :
       {std::optional<FrameSize>(), std::optional(FrameSize{96, 96})}) {
    for (const bool fsdp : WaysToShard()) {
      SCOPED_TRACE(absl::StrCat("rank ", Rank(), image ? " i2v" : " t2v", fsdp ? " fsdp" : ""));
      Device device(kPlenty);
      const ClipRequest clip = Clip(device.engine->model(), Precision::kAsExecuted, image);
      KeepingSink sink;
      const Part part = Compute(device, clip, fsdp, sink);
      ASSERT_TRUE(part.report.ok()) << part.report.status();
      const absl::StatusOr<MemoryPlan> plan = PlanClip(
          device.engine->model(), clip, {.topology = TopologyOf(device, fsdp), .rank = Rank(), .shares = {}},
          PlannedPrompts::kAsWritten);
      ASSERT_TRUE(plan.ok()) << plan.status();
      ASSERT_EQ(plan->stages.size(), part.report->stages.size());
      for (std::size_t i = 0; i < plan->stages.size(); ++i) {
        EXPECT_EQ(part.report->stages[i].arena_bytes_peak, plan->stages[i].bytes)
            << StageName(plan->stages[i].stage);
      }
    }
  }
}

TEST(RankGroup, ARankWithoutRoomEndsTheClipOnAllAndTheNextOneIsRight) {
  if (Ranks() == 1) GTEST_SKIP() << "nobody to end it for";
  for (const int small_rank : {0, Last()}) {
    for (const bool fsdp : WaysToShard()) {
      SCOPED_TRACE(absl::StrCat("rank ", small_rank, fsdp ? ", fsdp" : ""));
      Device device(Rank() == small_rank ? 1 << 20 : kPlenty);
      const ClipRequest clip = Clip(device.engine->model(), Precision::kAsExecuted, std::nullopt);
      KeepingSink sink;
      const Part part = Compute(device, clip, fsdp, sink);
      ASSERT_TRUE(part.told.ok()) << part.told.status();
      for (int rank = 0; rank < Ranks(); ++rank) {
        const absl::Status& status = (*part.told)[static_cast<std::size_t>(rank)].status;
        if (rank == small_rank) {
          EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
        } else {
          EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
          EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("rank ", small_rank, ": ")));
        }
      }
      Device enough(kPlenty);
      const Part next = Compute(enough, clip, fsdp, sink);
      EXPECT_TRUE(next.report.ok()) << next.report.status();
    }
  }
}

}  // namespace
}  // namespace ovi
