// Compressed weights of a job: where they are found, which of them are made, and what clips they give.
#include "worker/pipeline/low_rank_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/pipeline/clip_sinks.h"
#include "tests/pipeline/mini_model.h"
#include "worker/pipeline/clip_metadata.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/unit_folder.h"
#include "worker/pipeline/weights_form.h"
#include "worker/plan/clip_plan.h"
#include "worker/weights/safetensors_writer.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

absl::Status GoOn(std::int64_t, std::int64_t) {
  return absl::OkStatus();
}

class LowRankWeights : public testing::Test {
 protected:
  LowRankWeights() {
    const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = model.value_or(ModelFolder{});
  }

  std::string Find(const QuantiseProgress& progress = GoOn) {
    const absl::StatusOr<std::string> path = FindLowRankWeights(model_, folder_ / "cache", progress);
    EXPECT_TRUE(path.ok()) << path.status();
    return path.value_or("");
  }

  TempFolder folder_;
  ModelFolder model_;
};

TEST_F(LowRankWeights, AreMadeOnceForASmallModel) {
  const std::string path = Find();
  EXPECT_THAT(folder_.Files(), ElementsAre(MatchesRegex("cache/low_rank-[0-9a-f]+\\.safetensors")));
  EXPECT_EQ(path, folder_ / folder_.Files()[0]);
  int calls = 0;
  EXPECT_EQ(Find([&](std::int64_t, std::int64_t) { return ++calls, absl::OkStatus(); }), path);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(*LowRankOf(model_), kDefaultRank);
}

TEST_F(LowRankWeights, MakingThemCanBeStopped) {
  const auto stop = [](std::int64_t, std::int64_t) { return absl::CancelledError("stop"); };
  EXPECT_TRUE(absl::IsCancelled(FindLowRankWeights(model_, folder_ / "cache", stop).status()));
  EXPECT_THAT(folder_.Files(".safetensors"), IsEmpty());
}

TEST_F(LowRankWeights, MayBeTheModelsOwnFileOfAnyRank) {
  const std::string own = folder_ / "own.safetensors";
  const QuantiseRequest request{model_.fusion_weights, QuantisedFormat::kLowRank, 64};
  ASSERT_EQ(WriteQuantised(request, own, GoOn), absl::OkStatus());
  model_.fusion_weights = own;
  EXPECT_EQ(Find(), own);
  EXPECT_THAT(folder_.Files(), ElementsAre("own.safetensors"));
  EXPECT_EQ(*LowRankOf(model_), 64);
}

// A matrix of 2 GiB in f32, all of it a hole in the file.
TEST_F(LowRankWeights, OfALargeModelAreNotMadeButAskedFor) {
  const std::string head =
      SafetensorsHead({{"v.blocks.0.q.weight", DType::kBF16, {16384, 32768}, std::int64_t{1} << 30}}, {});
  model_.fusion_weights = folder_.Write("large.safetensors", head);
  fs::resize_file(model_.fusion_weights, head.size() + (std::uintmax_t{1} << 30));
  const auto refusal = [&] {
    const absl::Status status = FindLowRankWeights(model_, folder_ / "cache", GoOn).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(refusal(),
            absl::StrCat("enable_lora without loras needs compressed weights; make them once with: "
                         "ovi-worker convert --model ",
                         MiniModel(), " --format low_rank"));
  model_.weights_dir = "/ckpts";
  EXPECT_THAT(refusal(), HasSubstr("convert --model /ckpts --model-name mini-ovi --format low_rank"));
  EXPECT_THAT(folder_.Files(), ElementsAre("large.safetensors"));
}

TEST_F(LowRankWeights, CannotBeMadeOfWhatIsQuantisedAlready) {
  const std::string fp8 = folder_ / "fp8.safetensors";
  ASSERT_EQ(WriteQuantised({model_.fusion_weights, QuantisedFormat::kFp8}, fp8, GoOn), absl::OkStatus());
  model_.fusion_weights = fp8;
  const absl::Status status = FindLowRankWeights(model_, folder_ / "cache", GoOn).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("is F8_E4M3; F32, BF16 or F16 can be quantised"));
  EXPECT_EQ(*LowRankOf(model_), kDefaultRank);
}

class LowRankClips : public LowRankWeights {
 protected:
  ClipRequest Clip(VramMode mode, bool low_rank, std::int64_t rank = kDefaultRank) {
    job_.vram_mode = mode;
    job_.enable_lora = low_rank;
    job_.sample_steps = 3;
    const absl::StatusOr<ClipRequest> clip =
        ResolveClip(job_, {.text = MiniPrompts()[0]}, 0, model_, std::nullopt, rank);
    EXPECT_TRUE(clip.ok()) << clip.status();
    return clip.value_or(ClipRequest{});
  }

  // Settled without a limit, planned and computed with just what is planned.
  ClipReport Made(const ClipRequest& asked, const std::string& fusion_weights) {
    const absl::StatusOr<SettledClip> settled = SettleClip(model_, asked, {}, 0);
    EXPECT_TRUE(settled.ok()) << settled.status();
    if (!settled.ok()) return {};
    const absl::StatusOr<MemoryPlan> plan = PlanClip(model_, settled->clip, {}, PlannedPrompts::kAsWritten);
    EXPECT_TRUE(plan.ok()) << plan.status();
    if (!plan.ok()) return {};
    const std::unique_ptr<Backend> backend = MakeCpuBackend();
    const auto shelf = [&](const std::string& identity) {
      identities_.push_back(identity);
      return MakeUnitFolder(folder_ / "units", identity);
    };
    absl::StatusOr<std::unique_ptr<Engine>> engine =
        Engine::Create(*backend, plan->bytes_peak, model_, {.open_weights = nullptr, .open_shelf = shelf});
    EXPECT_TRUE(engine.ok()) << engine.status();
    if (!engine.ok()) return {};
    ClipInputs inputs;
    inputs.fusion_weights = fusion_weights;
    DroppingSink sink;
    const absl::StatusOr<ClipReport> report = (*engine)->Generate(settled->clip, inputs, {}, sink);
    EXPECT_TRUE(report.ok()) << report.status();
    if (!report.ok()) return {};
    for (std::size_t i = 0; i < report->stages.size(); ++i) {
      EXPECT_EQ(plan->stages[i].bytes, report->stages[i].arena_bytes_peak)
          << StageName(report->stages[i].stage) << " is not what was planned";
    }
    return *report;
  }

  JobSpec job_;
  std::vector<std::string> identities_;  // of streamed weights
};

double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    error += std::pow(double{actual[i]} - expected[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / norm);
}

std::int64_t DenoiseBytes(const ClipReport& report) {
  for (const StageReport& stage : report.stages) {
    if (stage.stage == Stage::kDenoise) return stage.arena_bytes_peak;
  }
  return 0;
}

// 0.155 and 0.076 after three steps, in 9.8 MiB instead of 11.4.
TEST_F(LowRankClips, AreNearThoseOfTheWholeWeightsInLessMemoryAndAsPlanned) {
  const ClipReport standard = Made(Clip(VramMode::kStandard, false), "");
  const std::string path = Find();
  const ClipReport resident = Made(Clip(VramMode::kStandard, true), path);
  for (const auto& [kept, whole] : {std::pair{&resident.latents.video, &standard.latents.video},
                                    std::pair{&resident.latents.audio, &standard.latents.audio}}) {
    const double error = RelativeError(*kept, *whole);
    EXPECT_LT(error, 0.25);
    EXPECT_GT(error, 0.01);
  }
  EXPECT_LT(DenoiseBytes(resident), DenoiseBytes(standard));
  // Wherever the weights are, they are the same.
  for (const VramMode mode : {VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow}) {
    const ClipReport other = Made(Clip(mode, true), path);
    EXPECT_EQ(other.latents.video, resident.latents.video) << ToString(mode);
    EXPECT_EQ(other.latents.audio, resident.latents.audio) << ToString(mode);
  }
}

TEST_F(LowRankClips, OfAnotherRankAreThoseOfTheModelsOwnFile) {
  const std::string whole = model_.fusion_weights, own = folder_ / "own.safetensors";
  ASSERT_EQ(WriteQuantised({whole, QuantisedFormat::kLowRank, 256}, own, GoOn), absl::OkStatus());
  model_.fusion_weights = own;
  const ClipReport kept = Made(Clip(VramMode::kStandard, true, *LowRankOf(model_)), Find());
  // The same file serves a job that knows nothing of it: its matrices are expanded.
  const ClipReport expanded = Made(Clip(VramMode::kStandard, false), "");
  EXPECT_LT(RelativeError(kept.latents.video, expanded.latents.video), 0.05);
  EXPECT_LT(DenoiseBytes(kept), DenoiseBytes(expanded));
}

TEST_F(LowRankClips, HaveStreamedWeightsOfTheirOwn) {
  (void)Made(Clip(VramMode::kUltraLow, true), Find());
  (void)Made(Clip(VramMode::kUltraLow, false), "");
  ASSERT_EQ(identities_.size(), 2u);
  EXPECT_NE(identities_[0], identities_[1]);
  EXPECT_THAT(identities_[0], HasSubstr("low rank 128"));
}

TEST_F(LowRankClips, SayItInTheirMetadata) {
  const ClipRequest clip = Clip(VramMode::kStandard, true);
  EXPECT_EQ(ClipMetadata(model_.spec, job_, clip, {.text = "a"}).at("weights"), "low_rank");
  const ClipRequest plain = Clip(VramMode::kStandard, false);
  EXPECT_EQ(ClipMetadata(model_.spec, job_, plain, {.text = "a"}).count("weights"), 0u);
}

}  // namespace
}  // namespace ovi
