// Behaviour of the fusion transformer that no reference number shows: skipping, determinism, cancellation,
// memory. Its numbers are held to the original's in tests/golden.
#include "worker/model/fusion_dit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "kernels/cpu/parallel.h"
#include "tests/model/memory_weights.h"
#include "tests/model/small_fusion.h"
#include "tests/model/test_device.h"

namespace ovi {
namespace {

using ::testing::HasSubstr;

MemoryWeights SmallWeights() {
  return RandomWeights(FusionTensors(SmallFusion()), 11);
}

absl::Status NeverStop() {
  return absl::OkStatus();
}

struct Velocity {
  std::vector<float> video, audio;
  bool operator==(const Velocity&) const = default;
};

struct PassOptions {
  std::int64_t skip_block = -1;
  bool first_frame_is_clean = false;
  double timestep = 700;
  LatentShape shape{
      .channels = 4, .frames = 3, .rows = 4, .columns = 6, .audio_length = 9, .audio_channels = 5};
};

// A loaded transformer with two prompts on its device.
class Model {
 public:
  explicit Model(const WeightSource& weights, PrecisionPolicy policy = PrecisionPolicy::kReference,
                 std::int64_t layers = 3, TestDevice::Guard guard = TestDevice::Guard::kOff,
                 std::int64_t bytes_max = std::int64_t{32} << 20)
      : device_(bytes_max, guard) {
    auto dit = FusionDit::Load(device_.runtime(), SmallFusion(layers), weights, policy, NeverStop);
    EXPECT_TRUE(dit.ok()) << dit.status();
    dit_ = *std::move(dit);
    const std::vector<float> states = RandomValues(5 * 10, 77);
    video_text_ = *dit_->PrepareText(Tower::kVideo, {states.data(), DType::kF32, {5, 10}});
    audio_text_ = *dit_->PrepareText(Tower::kAudio, {states.data(), DType::kF32, {3, 10}});
  }

  TestDevice& device() { return device_; }
  const FusionDit& dit() const { return *dit_; }

  absl::Status Forward(const PassOptions& options, Velocity& velocity,
                       const FusionDit::Check& check = NeverStop) {
    ArenaScope scope(device_.arena());
    const LatentShape& shape = options.shape;
    const Tensor video = device_.Put(shape.video(), RandomValues(shape.video().elements(), 5));
    const Tensor audio = device_.Put(shape.audio(), RandomValues(shape.audio().elements(), 6));
    const Tensor video_velocity = device_.Put(shape.video(), RandomValues(shape.video().elements(), 7));
    const Tensor audio_velocity = device_.Put(shape.audio(), RandomValues(shape.audio().elements(), 8));
    const FusionDit::Step step{.timestep = options.timestep,
                               .first_frame_is_clean = options.first_frame_is_clean};
    const FusionDit::Pass pass{
        .skip_block = options.skip_block, .video_text = &video_text_, .audio_text = &audio_text_};
    const std::int64_t before = device_.arena().bytes_in_use();
    const FusionDit::Velocity to{video_velocity, audio_velocity};
    const absl::Status status = dit_->Forward(shape, step, {&pass, 1}, video, audio, {&to, 1}, check);
    EXPECT_EQ(device_.arena().bytes_in_use(), before) << "a pass gives back what it took, whatever happens";
    velocity = {device_.Get(video_velocity), device_.Get(audio_velocity)};
    return status;
  }
  Velocity Forward(const PassOptions& options = {}) {
    Velocity velocity;
    EXPECT_EQ(Forward(options, velocity), absl::OkStatus());
    for (const std::vector<float>* values : {&velocity.video, &velocity.audio}) {
      EXPECT_TRUE(std::all_of(values->begin(), values->end(), [](float x) { return std::isfinite(x); }));
    }
    return velocity;
  }

 private:
  TestDevice device_;
  std::unique_ptr<FusionDit> dit_;
  TextContext video_text_, audio_text_;
};

TEST(FusionDit, SkippingABlockIsRunningWithoutIt) {
  const MemoryWeights weights = SmallWeights();
  // The same checkpoint with block 1 taken out and block 2 in its place.
  MemoryWeights without = RandomWeights(FusionTensors(SmallFusion(2)), 1);
  for (const TensorInfo& info : without.List()) {
    std::string source = info.name;
    const std::size_t at = source.find(".blocks.1.");
    if (at != std::string::npos) source.replace(at, 10, ".blocks.2.");
    const HostTensor tensor = *weights.Find(source);
    const auto* values = static_cast<const float*>(tensor.data);
    without.Add(info.name, tensor.shape, std::vector<float>(values, values + tensor.elements()));
  }
  for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
    Model model(weights, policy);
    Model shorter(without, policy, 2);
    const Velocity skipped = model.Forward({.skip_block = 1});
    EXPECT_EQ(skipped, shorter.Forward());
    const Velocity whole = model.Forward();
    EXPECT_NE(skipped.video, whole.video);
    EXPECT_NE(skipped.audio, whole.audio);
  }
}

TEST(FusionDit, SkippingABlockThatIsNotThereChangesNothing) {
  const MemoryWeights weights = SmallWeights();
  Model model(weights);
  const Velocity whole = model.Forward();
  for (const std::int64_t block : {std::int64_t{3}, std::int64_t{100}, std::int64_t{-7}}) {
    EXPECT_EQ(model.Forward({.skip_block = block}), whole) << block;
  }
  EXPECT_NE(model.Forward({.skip_block = 0}), whole)
      << "block 0 is there; that guidance leaves it alone is the caller's rule";
}

TEST(FusionDit, GivesTheSameBitsEveryTimeOnAnyNumberOfThreads) {
  const MemoryWeights weights = SmallWeights();
  const int threads = cpu::ThreadCount();
  for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
    Model model(weights, policy);
    // Enough tokens that every op is split.
    const PassOptions options{
        .shape = {
            .channels = 4, .frames = 5, .rows = 16, .columns = 20, .audio_length = 61, .audio_channels = 5}};
    const Velocity first = model.Forward(options);
    EXPECT_EQ(model.Forward(options), first) << "again";
    for (const int count : {1, 3}) {
      cpu::SetThreadCount(count);
      EXPECT_EQ(model.Forward(options), first) << count << " threads";
    }
    cpu::SetThreadCount(threads);
  }
}

TEST(FusionDit, ListensToTimeTextAndBothStreams) {
  const MemoryWeights weights = SmallWeights();
  Model model(weights);
  const Velocity whole = model.Forward();
  const Velocity later = model.Forward({.timestep = 300});
  EXPECT_NE(later.video, whole.video);
  EXPECT_NE(later.audio, whole.audio);
  const Velocity image = model.Forward({.first_frame_is_clean = true});
  EXPECT_NE(image.video, whole.video);
  EXPECT_NE(image.audio, whole.audio) << "through the fusion of the towers";
  EXPECT_EQ(model.Forward({.first_frame_is_clean = true, .timestep = 0}), model.Forward({.timestep = 0}))
      << "then all tokens have timestep 0";
}

TEST(FusionDit, StopsBetweenBlocksWhenAskedTo) {
  const MemoryWeights weights = SmallWeights();
  Model model(weights);
  const Velocity expected = model.Forward();
  for (int last = 1; last <= 3; ++last) {
    int calls = 0;
    Velocity velocity;
    const absl::Status status = model.Forward(
        {}, velocity, [&] { return ++calls < last ? absl::OkStatus() : absl::CancelledError("asked to"); });
    EXPECT_EQ(status, absl::CancelledError("asked to"));
    EXPECT_EQ(calls, last);
  }
  EXPECT_EQ(model.Forward(), expected) << "and runs again afterwards";

  TestDevice device;
  int calls = 0;
  const auto load =
      FusionDit::Load(device.runtime(), SmallFusion(), weights, PrecisionPolicy::kReference,
                      [&] { return ++calls < 2 ? absl::OkStatus() : absl::CancelledError("asked to"); });
  EXPECT_EQ(load.status(), absl::CancelledError("asked to")) << "loading, too";
}

TEST(FusionDit, RefusesTextThatDoesNotFit) {
  const MemoryWeights weights = SmallWeights();
  Model model(weights);
  const std::vector<float> states(100, 0.5f);
  const struct {
    Shape shape;
    const char* message;
  } rows[] = {{{8, 10}, "text states are 8x10, expected at most 7 rows of 10"},
              {{3, 11}, "text states are 3x11, expected at most 7 rows of 10"}};
  for (const auto& row : rows) {
    const absl::Status status =
        model.dit().PrepareText(Tower::kVideo, {states.data(), DType::kF32, row.shape}).status();
    EXPECT_EQ(status, absl::InvalidArgumentError(row.message));
  }
  EXPECT_TRUE(model.dit().PrepareText(Tower::kVideo, {states.data(), DType::kF32, {7, 10}}).ok());
  EXPECT_TRUE(model.dit().PrepareText(Tower::kAudio, {states.data(), DType::kF32, {0, 10}}).ok())
      << "padding alone";
}

TEST(FusionDit, GivesBackAnArenaThatIsTooSmallAndWorksOn) {
  const MemoryWeights weights = SmallWeights();
  Model roomy(weights);
  const Velocity expected = roomy.Forward();
  // Room for the inputs of the larger clip, not for its activations.
  Model tight(weights, PrecisionPolicy::kReference, 3, TestDevice::Guard::kOff,
              roomy.device().arena().bytes_peak() + (std::int64_t{1} << 18));
  const PassOptions large{
      .shape = {
          .channels = 4, .frames = 60, .rows = 8, .columns = 8, .audio_length = 9, .audio_channels = 5}};
  Velocity velocity;
  EXPECT_EQ(tight.Forward(large, velocity).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tight.Forward(), expected) << "what fits still fits";
}

TEST(FusionDit, NamesTheTensorThatIsWrong) {
  TestDevice device;
  MemoryWeights missing = SmallWeights();
  missing.Remove("audio_model.blocks.2.cross_attn.k_fusion.bias");
  MemoryWeights reshaped = SmallWeights();
  reshaped.Add("video_model.head.modulation", {2, 48}, std::vector<float>(96));
  const struct {
    const MemoryWeights* weights;
    const char* message;
  } rows[] = {{&missing, "audio_model.blocks.2.cross_attn.k_fusion.bias"},
              {&reshaped, "video_model.head.modulation is 2x48, expected 1x2x48"}};
  for (const auto& row : rows) {
    const absl::Status status =
        FusionDit::Load(device.runtime(), SmallFusion(), *row.weights, PrecisionPolicy::kReference, NeverStop)
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

TEST(FusionDit, LeavesDeviceMemoryToTheBackend) {
  const MemoryWeights weights = SmallWeights();
  for (const PrecisionPolicy policy : {PrecisionPolicy::kReference, PrecisionPolicy::kAsExecuted}) {
    Model plain(weights, policy);
    Model guarded(weights, policy, 3, TestDevice::Guard::kOn);
    EXPECT_EQ(guarded.Forward({.first_frame_is_clean = true}), plain.Forward({.first_frame_is_clean = true}));
  }
}

}  // namespace
}  // namespace ovi
