// Streamed weights are the weights: whatever part of them is on the device, the network's numbers are those
// of resident ones. And where each unit is, by the bytes there are.
#include "worker/model/streamed_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/compressed_weights.h"
#include "tests/model/memory_shelf.h"
#include "tests/model/memory_weights.h"
#include "tests/model/public_fusion.h"
#include "tests/model/small_fusion.h"
#include "tests/model/test_device.h"
#include "worker/model/fusion_dit.h"
#include "worker/model/unit_buffer.h"

namespace ovi {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kLayers = 5;

absl::Status NeverStop() {
  return absl::OkStatus();
}

NumberFormat FormatOf(MatrixFormat block_matrices) {
  NumberFormat format = Bf16NetworkFormat(PrecisionPolicy::kAsExecuted);
  format.block_matrices = block_matrices;
  return format;
}

std::map<FusionPiece, std::int64_t> UnitBytes(TestDevice& device, const WeightSource& weights,
                                              NumberFormat format) {
  const auto bytes = MeasureUnits(device.runtime(), SmallFusion(kLayers), weights, format);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return *bytes;
}

struct Velocities {
  std::vector<std::vector<float>> values;
  bool operator==(const Velocities&) const = default;
};

// Two steps of two passes, one of which skips a block.
Velocities TwoSteps(TestDevice& device, std::unique_ptr<FusionWeights> weights) {
  FusionDit dit(device.runtime(), SmallFusion(kLayers), PrecisionPolicy::kAsExecuted, std::move(weights),
                std::nullopt);
  const std::vector<float> states = RandomValues(5 * 10, 77);
  const TextContext video_text = *dit.PrepareText(Tower::kVideo, {states.data(), DType::kF32, {5, 10}});
  const TextContext audio_text = *dit.PrepareText(Tower::kAudio, {states.data(), DType::kF32, {3, 10}});
  const LatentShape shape{
      .channels = 4, .frames = 3, .rows = 4, .columns = 6, .audio_length = 9, .audio_channels = 5};
  const Tensor video = device.Put(shape.video(), RandomValues(shape.video().elements(), 5));
  const Tensor audio = device.Put(shape.audio(), RandomValues(shape.audio().elements(), 6));
  std::vector<FusionDit::Velocity> to(2);
  for (FusionDit::Velocity& velocity : to) {
    velocity.video = device.Put(shape.video(), RandomValues(shape.video().elements(), 7));
    velocity.audio = device.Put(shape.audio(), RandomValues(shape.audio().elements(), 8));
  }
  const FusionDit::Pass passes[] = {{.skip_block = -1, .video_text = &video_text, .audio_text = &audio_text},
                                    {.skip_block = 2, .video_text = &video_text, .audio_text = &audio_text}};
  Velocities velocities;
  for (const double timestep : {900.0, 300.0}) {
    EXPECT_EQ(dit.Forward(shape, {.timestep = timestep}, passes, video, audio, to, NeverStop),
              absl::OkStatus());
    for (const FusionDit::Velocity& velocity : to) {
      velocities.values.push_back(device.Get(velocity.video));
      velocities.values.push_back(device.Get(velocity.audio));
    }
  }
  return velocities;
}

TEST(StreamedWeights, GiveTheBitsOfResidentOnesWhateverIsStreamed) {
  const MemoryWeights plain = RandomWeights(FusionTensors(SmallFusion(kLayers)), 11);
  const CompressedWeights weights(plain);
  for (const MatrixFormat matrices : {MatrixFormat{DType::kBF16}, MatrixFormat{DType::kF8E4M3},
                                      MatrixFormat{DType::kI8}, LowRankFormat(kDefaultRank)}) {
    const NumberFormat format = FormatOf(matrices);
    TestDevice resident_device;
    const Velocities expected = TwoSteps(
        resident_device,
        *LoadResidentWeights(resident_device.runtime(), SmallFusion(kLayers), weights, format, NeverStop));
    TestDevice measuring;
    const auto unit_bytes = UnitBytes(measuring, weights, format);
    const StreamingPlan least = PlanStreaming(SmallFusion(kLayers), unit_bytes, 0);
    const std::int64_t all = least.host_bytes;
    for (const std::int64_t bytes : {std::int64_t{0}, least.device_bytes + all / 4, all / 2, all, 2 * all}) {
      SCOPED_TRACE(testing::Message() << ToString(matrices) << " " << bytes << " of " << all);
      TestDevice device(std::int64_t{256} << 20, TestDevice::Guard::kOn);
      const std::int64_t before = device.arena().bytes_in_use();
      auto streamed = LoadStreamedWeights(device.runtime(), SmallFusion(kLayers), weights, format, bytes,
                                          std::make_unique<MemoryShelf>(), NeverStop);
      ASSERT_TRUE(streamed.ok()) << streamed.status();
      EXPECT_EQ(device.arena().bytes_in_use() - before,
                PlanStreaming(SmallFusion(kLayers), unit_bytes, bytes).device_bytes);
      EXPECT_EQ(TwoSteps(device, *std::move(streamed)), expected);
    }
  }
}

double RelativeError(const Velocities& a, const Velocities& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    for (std::size_t j = 0; j < a.values[i].size(); ++j) {
      difference += (double{a.values[i][j]} - b.values[i][j]) * (double{a.values[i][j]} - b.values[i][j]);
      norm += double{b.values[i][j]} * b.values[i][j];
    }
  }
  return std::sqrt(difference / norm);
}

// 0.006, for the rounding of other sums; 0.050 from the weights before they were compressed.
TEST(LowRankWeights, GiveTheVelocitiesOfTheMatricesTheyStandFor) {
  const MemoryWeights plain = RandomWeights(FusionTensors(SmallFusion(kLayers)), 11);
  const CompressedWeights compressed(plain);
  const auto velocities = [](const WeightSource& source, MatrixFormat format) {
    TestDevice device;
    return TwoSteps(device, *LoadResidentWeights(device.runtime(), SmallFusion(kLayers), source,
                                                 FormatOf(format), NeverStop));
  };
  const Velocities kept = velocities(compressed, LowRankFormat(kDefaultRank));
  EXPECT_LT(RelativeError(kept, velocities(compressed, {DType::kBF16})), 0.01);
  EXPECT_GT(RelativeError(kept, velocities(plain, {DType::kBF16})), 0.03);
}

TEST(LowRankWeights, MustBeInTheSourceAndOfTheRank) {
  const MemoryWeights plain = RandomWeights(FusionTensors(SmallFusion(kLayers)), 11);
  const CompressedWeights compressed(plain, 256);
  const struct {
    const WeightSource& source;
    const char* message;
  } rows[] = {{plain, "memory: video_model.blocks.0.self_attn.q.weight is not in the low-rank form"},
              {compressed, "self_attn.q.weight is 48x48 of rank 4, expected 48x48 of rank 2"}};
  for (const auto& row : rows) {
    TestDevice device;
    const absl::Status status = LoadResidentWeights(device.runtime(), SmallFusion(kLayers), row.source,
                                                    FormatOf(LowRankFormat(kDefaultRank)), NeverStop)
                                    .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(row.message));
  }
}

TEST(StreamedWeights, ReturnTheErrorOfACheckOrOfTheShelf) {
  const MemoryWeights weights = RandomWeights(FusionTensors(SmallFusion(kLayers)), 11);
  TestDevice device;
  int left = 3;
  const auto stop = [&left] { return --left > 0 ? absl::OkStatus() : absl::CancelledError("stopped"); };
  EXPECT_EQ(LoadStreamedWeights(device.runtime(), SmallFusion(kLayers), weights, FormatOf({DType::kI8}), 0,
                                std::make_unique<MemoryShelf>(), stop)
                .status(),
            absl::CancelledError("stopped"));
  class FullShelf final : public UnitShelf {
    absl::Status Stock(std::span<const Item>, const Fill&) override {
      return absl::ResourceExhaustedError("full");
    }
    std::span<const std::byte> Bytes(FusionUnit) const override { return {}; }
  };
  EXPECT_EQ(LoadStreamedWeights(device.runtime(), SmallFusion(kLayers), weights, FormatOf({DType::kI8}), 0,
                                std::make_unique<FullShelf>(), NeverStop)
                .status(),
            absl::ResourceExhaustedError("full"));
}

std::map<FusionPiece, std::int64_t> MadeUpBytes() {
  return {{FusionPiece::kText, 10},         {FusionPiece::kEntry, 20},
          {FusionPiece::kAudioPatchW1, 50}, {FusionPiece::kAudioPatchW3, 50},
          {FusionPiece::kAudioPatchW2, 50}, {FusionPiece::kBlockPair, 40},
          {FusionPiece::kHead, 5}};
}

TEST(PlanStreaming, TakesTwoBuffersAtLeast) {
  const FusionConfig config = PublicFusion();
  for (const std::int64_t bytes : {0, 50, 99, 100, 149}) {
    const StreamingPlan plan = PlanStreaming(config, MadeUpBytes(), bytes);
    EXPECT_THAT(plan.resident, IsEmpty()) << bytes;
    EXPECT_EQ(plan.streamed, FusionUnits(config));
    EXPECT_EQ(plan.buffer_bytes, 50);
    EXPECT_EQ(plan.device_bytes, 100);
    EXPECT_EQ(plan.host_bytes, 30 * 40 + 150 + 35);
  }
}

TEST(PlanStreaming, KeepsTheAudioPatchFirstAndBlocksSpread) {
  const FusionConfig config = PublicFusion();
  const auto resident = [&](std::int64_t bytes) {
    return PlanStreaming(config, MadeUpBytes(), bytes).resident;
  };
  const FusionUnit w1{FusionPiece::kAudioPatchW1};
  const FusionUnit w2{FusionPiece::kAudioPatchW2};
  const FusionUnit w3{FusionPiece::kAudioPatchW3};
  const FusionUnit entry{FusionPiece::kEntry};
  const FusionUnit head{FusionPiece::kHead};
  const auto block = [](std::int64_t index) { return FusionUnit{FusionPiece::kBlockPair, index}; };
  EXPECT_THAT(resident(150), ElementsAre(w1));
  EXPECT_THAT(resident(229), ElementsAre(w1, w3));
  // Without the patch the buffers are those of blocks.
  EXPECT_THAT(resident(230), ElementsAre(w1, w3, w2));
  EXPECT_THAT(resident(255), ElementsAre(entry, w1, w3, w2, head));
  EXPECT_THAT(resident(255 + 4 * 40),
              ElementsAre(entry, w1, w3, w2, block(0), block(8), block(16), block(24), head));
}

TEST(PlanStreaming, FillsWhatThereIsAndNoMore) {
  const FusionConfig config = PublicFusion();
  std::int64_t before = 0;
  for (std::int64_t bytes = 100; bytes < 1500; bytes += 7) {
    const StreamingPlan plan = PlanStreaming(config, MadeUpBytes(), bytes);
    EXPECT_LE(plan.device_bytes, bytes);
    EXPECT_GE(plan.device_bytes, std::min<std::int64_t>(bytes - 50, 1385));
    EXPECT_GE(plan.device_bytes, before) << "more room is never used less";
    before = plan.device_bytes;
    EXPECT_EQ(plan.resident.size() + plan.streamed.size(), FusionUnits(config).size());
  }
  const StreamingPlan whole = PlanStreaming(config, MadeUpBytes(), 1385);
  EXPECT_THAT(whole.streamed, IsEmpty());
  EXPECT_EQ(whole.buffer_bytes, 0);
  EXPECT_EQ(whole.device_bytes, 1385);
  EXPECT_EQ(whole.host_bytes, 0);
}

}  // namespace
}  // namespace ovi
