// Whole clips of mini-ovi through the engine: passes, cancellation, memory, progress, devices.
#include "worker/pipeline/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/guard_backend.h"
#include "tests/pipeline/mini_model.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

constexpr std::int64_t kPlenty = std::int64_t{256} << 20;
constexpr int kSteps = 3;

ModelFolder Mini() {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelFolder{});
}

ClipRequest Clip(int steps = kSteps, std::optional<FrameSize> image = std::nullopt) {
  JobSpec job;
  job.sample_steps = steps;
  const PromptItem item{.text = "A red circle moves right across a black background. Audio: silence."};
  const absl::StatusOr<ClipRequest> clip = ResolveClip(job, item, 0, Mini(), image);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return clip.value_or(ClipRequest{});
}

class CountingSink final : public ClipSink {
 public:
  absl::Status Begin(const ClipInfo& info, std::span<const float> audio) override {
    info_ = info;
    samples = audio.size();
    ++begun;
    return absl::OkStatus();
  }
  absl::Status AddFrames(std::span<const std::uint8_t> rgb) override {
    bytes += static_cast<std::int64_t>(rgb.size());
    return fails_at_frame_bytes > 0 && bytes >= fails_at_frame_bytes ? absl::UnavailableError("disk full")
                                                                     : absl::OkStatus();
  }
  absl::Status Finish() override {
    ++finished;
    return absl::OkStatus();
  }
  std::int64_t frames() const { return bytes / (info_.height * info_.width * 3); }

  int begun = 0, finished = 0;
  std::int64_t bytes = 0;
  std::int64_t fails_at_frame_bytes = 0;  // 0 for never
  std::size_t samples = 0;

 private:
  ClipInfo info_;
};

std::unique_ptr<Engine> MakeEngine(Backend& backend, std::int64_t bytes_max = kPlenty) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(backend, bytes_max, Mini());
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

// On the CPU, without anything special.
absl::StatusOr<ClipReport> Generate(const ClipRequest& clip, const ClipInputs& inputs, const Control& control,
                                    ClipSink& sink, std::int64_t bytes_max = kPlenty) {
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  return MakeEngine(*backend, bytes_max)->Generate(clip, inputs, control, sink);
}

// One clip from beginning to end, made once for the tests that look at it.
struct WholeClip {
  ClipReport report;
  std::vector<Progress> events;
  CountingSink sink;
};

const WholeClip& Whole() {
  static const WholeClip* const whole = [] {
    auto* made = new WholeClip;
    const Control control{.on_progress = [made](const Progress& event) { made->events.push_back(event); }};
    absl::StatusOr<ClipReport> report = Generate(Clip(), {}, control, made->sink);
    OVI_CHECK(report.ok());
    made->report = *std::move(report);
    return made;
  }();
  return *whole;
}

std::int64_t PeakOf(const ClipReport& report) {
  std::int64_t peak = 0;
  for (const StageReport& stage : report.stages) peak = std::max(peak, stage.arena_bytes_peak);
  return peak;
}

TEST(Engine, HandsOverTheWholeClip) {
  EXPECT_EQ(Whole().sink.begun, 1);
  EXPECT_EQ(Whole().sink.finished, 1);
  EXPECT_EQ(Whole().sink.frames(), 25);
  EXPECT_EQ(Whole().sink.samples, 16384u);
  EXPECT_EQ(Whole().report.latents.video.size(), 48u * 7 * 6 * 6);
  EXPECT_EQ(Whole().report.latents.audio.size(), 32u * 20);
}

TEST(Engine, ReportsThreeStagesWithTheirTimeAndMemory) {
  const std::vector<StageReport>& stages = Whole().report.stages;
  ASSERT_EQ(stages.size(), 3u);
  const Stage order[] = {Stage::kEncode, Stage::kDenoise, Stage::kDecode};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(stages[i].stage, order[i]);
    EXPECT_GT(stages[i].seconds, 0);
    EXPECT_GT(stages[i].arena_bytes_peak, 0);
    EXPECT_LT(stages[i].arena_bytes_peak, kPlenty / 4) << "weights and activations take some 15 MB";
  }
}

TEST(Engine, ReportsProgressInOrder) {
  std::vector<std::string> seen;
  for (const Progress& event : Whole().events) {
    seen.push_back(absl::StrCat(std::string(StageName(event.stage)), " ", event.step, "/", event.steps));
    EXPECT_GE(event.seconds_per_step, 0);
  }
  EXPECT_THAT(seen,
              testing::ElementsAre("encode 0/1", "encode 1/1", "denoise 0/3", "denoise 1/3", "denoise 2/3",
                                   "denoise 3/3", "decode 0/7", "decode 1/7", "decode 2/7", "decode 3/7",
                                   "decode 4/7", "decode 5/7", "decode 6/7", "decode 7/7"));
}

struct Denoised {
  int positive = 0;  // passes
  int negative = 0;
  std::vector<float> video;  // latents after the last step
};

// Runs a clip up to its decoders, which would take most of the time.
Denoised DenoiseOnly(const ClipRequest& clip) {
  Denoised result;
  std::atomic<bool> cancelled{false};
  ClipInputs inputs;
  inputs.observer.on_prediction = [&](int, bool is_positive, std::span<const float>, std::span<const float>) {
    ++(is_positive ? result.positive : result.negative);
  };
  inputs.observer.on_step = [&](int step, std::span<const float> video, std::span<const float>) {
    result.video.assign(video.begin(), video.end());
    cancelled = step + 1 == clip.steps;
  };
  CountingSink sink;
  const absl::Status status = Generate(clip, inputs, {.cancelled = &cancelled}, sink).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  return result;
}

TEST(Engine, RunsTheNegativePassOnlyWhereItIsNeeded) {
  const struct {
    double video, audio;
    int positive, negative;
  } rows[] = {{1, 1, kSteps, 0}, {2, 1, kSteps, kSteps}, {1, 2, kSteps, kSteps}, {2, 2, kSteps, kSteps}};
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << row.video << " " << row.audio);
    ClipRequest clip = Clip();
    clip.video_guidance_scale = row.video;
    clip.audio_guidance_scale = row.audio;
    const Denoised denoised = DenoiseOnly(clip);
    EXPECT_EQ(denoised.positive, row.positive);
    EXPECT_EQ(denoised.negative, row.negative);
  }
}

TEST(Engine, LeavesOutNothingThatCountsAtGuidanceOne) {
  ClipRequest clip = Clip(2);
  clip.policy = PrecisionPolicy::kReference;
  clip.audio_guidance_scale = 1;
  clip.video_guidance_scale = 1;
  const std::vector<float> one_pass = DenoiseOnly(clip).video;
  clip.video_guidance_scale = 1 + 1e-12;  // two passes, and 1 once it is a float
  const std::vector<float> two_passes = DenoiseOnly(clip).video;
  ASSERT_EQ(one_pass.size(), two_passes.size());
  for (std::size_t i = 0; i < one_pass.size(); ++i) ASSERT_NEAR(one_pass[i], two_passes[i], 1e-5f);
}

TEST(Engine, StopsWhereItIsCancelled) {
  const struct {
    Stage stage;
    int at_step;
    int steps_seen;  // of denoising
    int begun;       // whether the sink had been given the sound
  } rows[] = {{Stage::kEncode, 0, 0, 0},
              {Stage::kDenoise, 0, 0, 0},
              {Stage::kDenoise, 2, 2, 0},
              {Stage::kDecode, 1, kSteps, 1}};
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << StageName(row.stage) << " " << row.at_step);
    std::atomic<bool> cancelled{false};
    const Control control{.on_progress =
                              [&](const Progress& progress) {
                                if (progress.stage == row.stage && progress.step == row.at_step)
                                  cancelled.store(true);
                              },
                          .cancelled = &cancelled};
    int steps = 0;
    int late_predictions = 0;
    ClipInputs inputs;
    inputs.observer.on_step = [&](int, std::span<const float>, std::span<const float>) { ++steps; };
    inputs.observer.on_prediction = [&](int, bool, std::span<const float>, std::span<const float>) {
      if (cancelled.load()) ++late_predictions;
    };
    CountingSink sink;
    const absl::Status status = Generate(Clip(), inputs, control, sink).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
    EXPECT_EQ(steps, row.steps_seen);
    EXPECT_EQ(late_predictions, 0);
    EXPECT_EQ(sink.begun, row.begun);
    EXPECT_EQ(sink.finished, 0);
  }
}

TEST(Engine, LeavesNothingInTheArenaHoweverAClipEnds) {
  // An arena of exactly the peak has no room for anything that was left behind.
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  const std::unique_ptr<Engine> engine = MakeEngine(*backend, PeakOf(Whole().report));
  std::atomic<bool> cancelled{false};
  const Control control{.on_progress = [&](const Progress& p) { cancelled = p.stage == Stage::kDecode; },
                        .cancelled = &cancelled};
  CountingSink stopped;
  EXPECT_EQ(engine->Generate(Clip(), {}, control, stopped).status().code(), absl::StatusCode::kCancelled);
  CountingSink broken;
  broken.fails_at_frame_bytes = 1;
  EXPECT_EQ(engine->Generate(Clip(), {}, {}, broken).status().code(), absl::StatusCode::kUnavailable);
  CountingSink sink;
  const absl::StatusOr<ClipReport> report = engine->Generate(Clip(), {}, {}, sink);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(PeakOf(*report), PeakOf(Whole().report));
  EXPECT_EQ(report->latents.video, Whole().report.latents.video);
}

TEST(Engine, SaysHowMuchMemoryWasMissing) {
  for (const std::int64_t bytes : {std::int64_t{64}, std::int64_t{1} << 20, PeakOf(Whole().report) - 64}) {
    CountingSink sink;
    const absl::Status status = Generate(Clip(1), {}, {}, sink, bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()),
                testing::AllOf(testing::HasSubstr("bytes_needed="), testing::HasSubstr("bytes_free=")));
    EXPECT_EQ(sink.finished, 0);
  }
}

TEST(Engine, TouchesDeviceMemoryThroughTheBackendOnly) {
  const std::unique_ptr<Backend> guard = MakeGuardBackend(MakeCpuBackend());
  CountingSink sink;
  const absl::StatusOr<ClipReport> guarded = MakeEngine(*guard)->Generate(Clip(), {}, {}, sink);
  ASSERT_TRUE(guarded.ok()) << guarded.status();
  EXPECT_EQ(guarded->latents.video, Whole().report.latents.video);
  EXPECT_EQ(guarded->latents.audio, Whole().report.latents.audio);
  EXPECT_EQ(sink.bytes, Whole().sink.bytes);
}

TEST(Engine, KeepsTheFirstFrameOfAnImageFromTheFirstStepToTheLast) {
  const absl::StatusOr<std::unique_ptr<WeightSource>> golden = OpenWeights(GoldenFile("i2v.safetensors"));
  ASSERT_TRUE(golden.ok()) << golden.status();
  const std::vector<float> latent = ToFloats(*(*golden)->Find("image_latent"));  // (48, 1, 6, 6)
  ClipInputs inputs;
  inputs.image = ToFloats(*(*golden)->Find("image"));
  ClipRequest clip = Clip(kSteps, FrameSize{96, 96});
  clip.policy = PrecisionPolicy::kReference;
  CountingSink sink;
  const absl::StatusOr<ClipReport> report = Generate(clip, inputs, {}, sink);
  ASSERT_TRUE(report.ok()) << report.status();
  for (std::size_t channel = 0; channel < 48; ++channel) {
    for (std::size_t i = 0; i < 36; ++i) {
      ASSERT_NEAR(report->latents.video[channel * 7 * 36 + i], latent[channel * 36 + i], 1e-3f)
          << "channel " << channel << " position " << i;
    }
  }
}

TEST(Engine, RefusesNoiseOfAnotherSize) {
  ClipInputs inputs;
  inputs.noise = Latents{.video = std::vector<float>(10), .audio = std::vector<float>(32 * 20)};
  CountingSink sink;
  const absl::Status status = Generate(Clip(1), inputs, {}, sink).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("10 video"));
}

}  // namespace
}  // namespace ovi
