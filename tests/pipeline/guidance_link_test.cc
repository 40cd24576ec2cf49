// Two ranks, here two threads with an engine each, make the clip that one makes, bit for bit.
#include "worker/pipeline/guidance_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "kernels/cpu/cpu_backend.h"
#include "tests/pipeline/mini_model.h"
#include "worker/pipeline/engine.h"

namespace ovi {
namespace {

constexpr std::int64_t kPlenty = std::int64_t{256} << 20;

// Messages in one direction.
class Channel {
 public:
  void Push(std::vector<float> message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  // The sender is gone.
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  absl::Status Pop(std::vector<float>& message) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !messages_.empty(); });
    if (messages_.empty()) return absl::AbortedError("the other rank has ended");
    message = std::move(messages_.front());
    messages_.pop_front();
    return absl::OkStatus();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<float>> messages_;
  bool closed_ = false;
};

class ThreadLink final : public GuidanceLink {
 public:
  ThreadLink(GuidancePass pass, Channel& out, Channel& in) : pass_(pass), out_(out), in_(in) {}
  GuidancePass pass() const override { return pass_; }
  absl::Status Send(std::span<const float> values) override {
    out_.Push({values.begin(), values.end()});
    return absl::OkStatus();
  }
  absl::Status Receive(std::vector<float>& values) override { return in_.Pop(values); }

 private:
  GuidancePass pass_;
  Channel& out_;
  Channel& in_;
};

class KeepingSink final : public ClipSink {
 public:
  absl::Status Begin(const ClipInfo&, std::span<const float> samples) override {
    audio.assign(samples.begin(), samples.end());
    return absl::OkStatus();
  }
  absl::Status AddFrames(std::span<const std::uint8_t> rgb) override {
    frames.insert(frames.end(), rgb.begin(), rgb.end());
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }

  std::vector<float> audio;
  std::vector<std::uint8_t> frames;
};

ModelFolder Mini() {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelFolder{});
}

ClipRequest Clip(PrecisionPolicy policy, std::optional<FrameSize> image = std::nullopt) {
  JobSpec job;
  job.sample_steps = 3;
  job.slg_layer = 2;
  job.precision = policy == PrecisionPolicy::kReference ? Precision::kReference : Precision::kAsExecuted;
  const PromptItem item{.text = "A red circle moves right. Audio: a low tone."};
  const absl::StatusOr<ClipRequest> clip = ResolveClip(job, item, 0, Mini(), image);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return clip.value_or(ClipRequest{});
}

// A rank: its device and engine.
struct Rank {
  explicit Rank(std::int64_t bytes = kPlenty) : backend(MakeCpuBackend()) {
    absl::StatusOr<std::unique_ptr<Engine>> made = Engine::Create(*backend, bytes, Mini());
    EXPECT_TRUE(made.ok()) << made.status();
    engine = *std::move(made);
  }
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> engine;
};

struct Both {
  absl::StatusOr<ClipReport> leader, assistant;
  KeepingSink sink;
};

Both RunBoth(Rank& leader, Rank& assistant, const ClipRequest& clip, const ClipInputs& inputs = {},
             const Control& leader_control = {}) {
  Channel there;
  Channel back;
  ThreadLink leading(GuidancePass::kPositive, there, back);
  ThreadLink assisting(GuidancePass::kNegative, back, there);
  Both both;
  std::thread thread([&] {
    both.assistant = assistant.engine->Assist(clip, {}, {}, assisting);
    back.Close();
  });
  both.leader = leader.engine->Generate(clip, inputs, leader_control, both.sink, &leading);
  there.Close();
  thread.join();
  return both;
}

struct Alone {
  ClipReport report;
  KeepingSink sink;
};

Alone RunAlone(const ClipRequest& clip, const ClipInputs& inputs = {}) {
  Rank rank;
  Alone alone;
  absl::StatusOr<ClipReport> report = rank.engine->Generate(clip, inputs, {}, alone.sink);
  EXPECT_TRUE(report.ok()) << report.status();
  if (report.ok()) alone.report = *std::move(report);
  return alone;
}

void ExpectSameClip(const Both& both, const Alone& alone) {
  ASSERT_TRUE(both.leader.ok()) << both.leader.status();
  ASSERT_TRUE(both.assistant.ok()) << both.assistant.status();
  EXPECT_EQ(both.leader->latents.video, alone.report.latents.video);
  EXPECT_EQ(both.leader->latents.audio, alone.report.latents.audio);
  EXPECT_EQ(both.assistant->latents.video, alone.report.latents.video);
  EXPECT_EQ(both.assistant->latents.audio, alone.report.latents.audio);
  EXPECT_EQ(both.sink.audio, alone.sink.audio);
  EXPECT_EQ(both.sink.frames, alone.sink.frames);
}

TEST(GuidanceLink, TwoRanksMakeTheClipThatOneMakes) {
  for (const PrecisionPolicy policy : {PrecisionPolicy::kAsExecuted, PrecisionPolicy::kReference}) {
    SCOPED_TRACE(static_cast<int>(policy));
    Rank leader;
    Rank assistant;
    ExpectSameClip(RunBoth(leader, assistant, Clip(policy)), RunAlone(Clip(policy)));
  }
}

TEST(GuidanceLink, TheFirstFrameReachesBothRanks) {
  const ClipRequest clip = Clip(PrecisionPolicy::kAsExecuted, FrameSize{96, 96});
  ClipInputs inputs;
  inputs.image.resize(3 * 96 * 96);
  for (std::size_t i = 0; i < inputs.image.size(); ++i)
    inputs.image[i] = static_cast<float>(i % 97) / 48.0f - 1.0f;
  Rank leader;
  Rank assistant;
  ExpectSameClip(RunBoth(leader, assistant, clip, inputs), RunAlone(clip, inputs));
}

TEST(GuidanceLink, EachRankComputesItsOwnPassAndTakesNoMoreMemory) {
  const ClipRequest clip = Clip(PrecisionPolicy::kAsExecuted);
  Rank leader;
  Rank assistant;
  const Both both = RunBoth(leader, assistant, clip);
  ASSERT_TRUE(both.leader.ok()) << both.leader.status();
  ASSERT_TRUE(both.assistant.ok()) << both.assistant.status();
  const Alone alone = RunAlone(clip);
  ASSERT_EQ(both.leader->stages.size(), 3u);
  ASSERT_EQ(both.assistant->stages.size(), 1u) << "it neither encodes nor decodes";
  EXPECT_EQ(both.assistant->stages[0].stage, Stage::kDenoise);
  const std::int64_t whole = alone.report.stages[1].arena_bytes_peak;
  EXPECT_LT(both.leader->stages[1].arena_bytes_peak, whole) << "the texts of one pass only";
  EXPECT_LT(both.assistant->stages[0].arena_bytes_peak, whole);
}

TEST(GuidanceLink, IsNotUsedForAClipOfOnePass) {
  ClipRequest clip = Clip(PrecisionPolicy::kAsExecuted);
  clip.video_guidance_scale = 1;
  clip.audio_guidance_scale = 1;
  Rank leader;
  Rank assistant;
  const Both both = RunBoth(leader, assistant, clip);
  ASSERT_TRUE(both.leader.ok()) << both.leader.status();
  ASSERT_TRUE(both.assistant.ok()) << both.assistant.status();
  EXPECT_TRUE(both.assistant->stages.empty());
  EXPECT_EQ(both.leader->latents.video, RunAlone(clip).report.latents.video);
}

TEST(GuidanceLink, AFailureOfEitherRankEndsTheClipOnBoth) {
  const ClipRequest clip = Clip(PrecisionPolicy::kAsExecuted);
  for (const bool leader_fails : {true, false}) {
    SCOPED_TRACE(leader_fails ? "leader" : "assistant");
    Rank small(1 << 20);
    Rank large;
    const Both both = leader_fails ? RunBoth(small, large, clip) : RunBoth(large, small, clip);
    EXPECT_EQ((leader_fails ? both.leader : both.assistant).status().code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_EQ((leader_fails ? both.assistant : both.leader).status().code(), absl::StatusCode::kAborted);
    Rank other;
    ExpectSameClip(RunBoth(large, other, clip), RunAlone(clip));
  }
}

TEST(GuidanceLink, AnInterruptionEndsTheClipBetweenBlocks) {
  int checks = 0;
  const Control control{.interruption = [&checks]() -> absl::Status {
    return ++checks < 20 ? absl::OkStatus() : absl::AbortedError("the other rank says so");
  }};
  Rank leader;
  Rank assistant;
  const Both both = RunBoth(leader, assistant, Clip(PrecisionPolicy::kAsExecuted), {}, control);
  EXPECT_EQ(both.leader.status(), absl::AbortedError("the other rank says so"));
  EXPECT_EQ(checks, 20) << "it went on after the interruption";
  EXPECT_EQ(both.assistant.status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace ovi
