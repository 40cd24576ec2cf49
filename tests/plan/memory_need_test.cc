// The plan is what a run takes: held against runs of mini-ovi, to the byte.
#include "worker/plan/memory_need.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/arena.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/pipeline/clip_sinks.h"
#include "tests/pipeline/mini_model.h"
#include "worker/model/fusion_params.h"
#include "worker/pipeline/engine.h"
#include "worker/plan/step_traffic.h"

namespace ovi {
namespace {

constexpr std::int64_t kPlenty = std::int64_t{256} << 20;
constexpr PrecisionPolicy kPolicies[] = {PrecisionPolicy::kAsExecuted, PrecisionPolicy::kReference};

ModelFolder Mini() {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelFolder{});
}

struct ClipChoice {
  PrecisionPolicy policy = PrecisionPolicy::kAsExecuted;
  Mode mode = Mode::kT2v;
  Size size{96, 96};
  std::string prompt = "A red circle moves right. Audio: a low tone.";
  VramMode vram_mode = VramMode::kAuto;
};

ClipRequest Clip(const ClipChoice& choice) {
  JobSpec job;
  job.sample_steps = 1;
  job.size = choice.size;
  job.video_negative_prompt = choice.prompt;
  job.audio_negative_prompt = choice.prompt;
  job.vram_mode = choice.vram_mode;
  job.precision =
      choice.policy == PrecisionPolicy::kReference ? Precision::kReference : Precision::kAsExecuted;
  const std::optional<FrameSize> image = choice.mode == Mode::kI2v
                                             ? std::optional(FrameSize{choice.size.height, choice.size.width})
                                             : std::nullopt;
  const absl::StatusOr<ClipRequest> clip = ResolveClip(job, {.text = choice.prompt}, 0, Mini(), image);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return clip.value_or(ClipRequest{});
}

// The clip, computed.
absl::StatusOr<ClipReport> Computed(const ClipRequest& clip, std::int64_t bytes) {
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(*backend, bytes, Mini());
  if (!engine.ok()) return engine.status();
  ClipInputs inputs;
  if (clip.image_to_video)
    inputs.image.resize(static_cast<std::size_t>(3 * clip.size.height * clip.size.width), 0.25f);
  DroppingSink sink;
  return (*engine)->Generate(clip, inputs, {}, sink);
}

MemoryPlan PlanOf(const ClipRequest& clip) {
  const absl::StatusOr<MemoryPlan> plan = PlanClip(Mini(), clip, {}, PlannedPrompts::kAsWritten);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.value_or(MemoryPlan{});
}

MemoryPlan ModelPlan(PrecisionPolicy policy, Mode mode) {
  const absl::StatusOr<MemoryPlan> plan = PlanModel(Mini(), policy, mode);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.value_or(MemoryPlan{});
}

void ExpectSame(const MemoryPlan& plan, const ClipReport& report) {
  ASSERT_EQ(plan.stages.size(), 3u);
  ASSERT_EQ(report.stages.size(), 3u);
  std::int64_t peak = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(plan.stages[i].stage, report.stages[i].stage);
    EXPECT_EQ(plan.stages[i].bytes, report.stages[i].arena_bytes_peak) << StageName(report.stages[i].stage);
    EXPECT_GT(plan.stages[i].bytes, 0);
    peak = std::max(peak, report.stages[i].arena_bytes_peak);
  }
  EXPECT_EQ(plan.bytes_peak, peak);
}

TEST(PlanClip, GivesThePeakOfEveryStageOfARealRun) {
  for (const PrecisionPolicy policy : kPolicies) {
    for (const Mode mode : {Mode::kT2v, Mode::kI2v}) {
      SCOPED_TRACE(testing::Message() << ToString(mode) << " " << static_cast<int>(policy));
      const ClipRequest clip = Clip({.policy = policy, .mode = mode, .size = {64, 128}});
      const absl::StatusOr<ClipReport> report = Computed(clip, kPlenty);
      ASSERT_TRUE(report.ok()) << report.status();
      ExpectSame(PlanOf(clip), *report);
    }
  }
}

TEST(PlanClip, IsEnoughAndOneAlignmentUnitLessIsNot) {
  const ClipRequest clip = Clip({});
  const std::int64_t bytes = PlanOf(clip).bytes_peak;
  EXPECT_EQ(bytes % Arena::kAlignment, 0);
  EXPECT_TRUE(Computed(clip, bytes).ok());
  EXPECT_EQ(Computed(clip, bytes - Arena::kAlignment).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Computed(clip, bytes - 1).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(PlanClip, DependsNeitherOnStepsNorOnTheSolver) {
  ClipRequest clip = Clip({});
  const std::int64_t bytes = PlanOf(clip).bytes_peak;
  for (const SolverKind solver : {SolverKind::kUniPc, SolverKind::kDpmPlusPlus, SolverKind::kEuler}) {
    clip.steps = 3;
    clip.solver = solver;
    EXPECT_EQ(PlanOf(clip).bytes_peak, bytes);
  }
}

// A long text of other words than the planner's own.
std::string LongText() {
  std::string text;
  for (int i = 0; i < 600; ++i) text += "circle square tone ";
  return text;
}

TEST(PlanModel, IsReachedByItsLargestFramesAndLongestPrompts) {
  for (const PrecisionPolicy policy : kPolicies) {
    const ClipRequest clip =
        Clip({.policy = policy, .mode = Mode::kT2v, .size = {114, 82}, .prompt = LongText()});
    ASSERT_EQ(clip.size.height * clip.size.width, 128 * 96) << "a third more than the model's 96 x 96";
    const absl::StatusOr<ClipReport> report = Computed(clip, ModelPlan(policy, Mode::kT2v).bytes_peak);
    ASSERT_TRUE(report.ok()) << report.status();
    ExpectSame(ModelPlan(policy, Mode::kT2v), *report);
  }
}

TEST(PlanModel, CoversEveryShapeAndPrompt) {
  for (const Mode mode : {Mode::kT2v, Mode::kI2v}) {
    const MemoryPlan plan = ModelPlan(PrecisionPolicy::kAsExecuted, mode);
    bool reached = false;
    for (int width = 50; width <= 200; width += 3) {
      const ClipRequest clip =
          Clip({.mode = mode, .size = {100, width}, .prompt = width % 2 == 0 ? "x" : LongText()});
      const MemoryPlan one = PlanOf(clip);
      ASSERT_EQ(one.stages.size(), 3u);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_LE(one.stages[i].bytes, plan.stages[i].bytes) << width;
      reached = reached || one.bytes_peak == plan.bytes_peak;
    }
    EXPECT_TRUE(reached) << ToString(mode) << ": more is planned than any clip takes";
  }
}

// Settled without a limit, over widths and groups.
TEST(PlanModel, IsWhatSettlingWithoutALimitComesTo) {
  struct {
    VramMode vram_mode;
    int ranks;
    bool fsdp;
  } const rows[] = {{VramMode::kStandard, 1, false},   {VramMode::kStandard, 2, true},
                    {VramMode::kFp8, 1, false},        {VramMode::kFp8Offload, 1, false},
                    {VramMode::kFp8Offload, 4, false}, {VramMode::kUltraLow, 4, true},
                    {VramMode::kFp8Offload, 2, true},  {VramMode::kUltraLow, 1, false},
                    {VramMode::kUltraLow, 2, false},   {VramMode::kUltraLow, 3, true}};
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << ToString(row.vram_mode) << " " << row.ranks << " " << row.fsdp);
    const GpuRequest gpus{.allocation = row.fsdp ? GpuAllocation::kFsdp : GpuAllocation::kAuto};
    const auto topology = ChooseTopology({.world_size = row.ranks, .gpus = gpus, .heads = 8});
    ASSERT_TRUE(topology.ok()) << topology.status();
    PlannedRank rank{.topology = *topology};
    auto plan = PlanModel(Mini(), PrecisionPolicy::kAsExecuted, Mode::kT2v, rank, row.vram_mode);
    ASSERT_TRUE(plan.ok()) << plan.status();
    if (row.ranks > 1) {
      rank.rank = 1;
      const auto second = PlanModel(Mini(), PrecisionPolicy::kAsExecuted, Mode::kT2v, rank, row.vram_mode);
      ASSERT_TRUE(second.ok()) << second.status();
      Cover(*plan, *second);
    }
    const auto needs = MemoryNeedsOf(Mini(), row.ranks);
    ASSERT_TRUE(needs.ok()) << needs.status();
    for (const ModelMemoryNeed& need : *needs) {
      if (need.world_size != row.ranks || need.fsdp != row.fsdp || need.vram_mode != row.vram_mode) continue;
      EXPECT_GE(need.as_executed_bytes, plan->bytes_peak) << "a group would refuse what it was given";
    }
    bool reached = false;
    bool decode_reached = false;
    for (int width = 25; width <= 400; width += 1 + width / 25) {
      const ClipRequest clip = Clip({.size = {100, width}, .vram_mode = row.vram_mode});
      const auto settled = SettleClip(Mini(), clip, rank, 0);
      ASSERT_TRUE(settled.ok()) << settled.status();
      EXPECT_LE(settled->plan.bytes_peak, plan->bytes_peak) << width;
      reached = reached || settled->plan.bytes_peak == plan->bytes_peak;
      const std::int64_t decode = PlannedBytes(settled->plan, Stage::kDecode);
      EXPECT_LE(decode, PlannedBytes(*plan, Stage::kDecode)) << width;
      decode_reached = decode_reached || decode == PlannedBytes(*plan, Stage::kDecode);
    }
    EXPECT_TRUE(reached) << "more is planned than any clip takes";
    EXPECT_TRUE(decode_reached) << "more is planned for decoding than any clip takes";
  }
}

TEST(MemoryNeedsOf, CoversBothModes) {
  const auto needs = MemoryNeedsOf(Mini(), 4);
  ASSERT_TRUE(needs.ok()) << needs.status();
  const auto need = needs->begin();
  const auto most = [](PrecisionPolicy policy) {
    return std::max(ModelPlan(policy, Mode::kT2v).bytes_peak, ModelPlan(policy, Mode::kI2v).bytes_peak);
  };
  EXPECT_EQ(need->as_executed_bytes, most(PrecisionPolicy::kAsExecuted));
  EXPECT_EQ(need->reference_bytes, most(PrecisionPolicy::kReference));
  EXPECT_GT(need->reference_bytes, need->as_executed_bytes) << "f32 weights are twice as large";
  // 8 heads: not 3 ranks, but with fsdp.
  std::vector<std::pair<int, bool>> groups;
  for (const ModelMemoryNeed& one : *needs) {
    if (one.vram_mode == VramMode::kStandard) groups.emplace_back(one.world_size, one.fsdp);
  }
  EXPECT_THAT(groups, testing::ElementsAre(std::pair(1, false), std::pair(2, false), std::pair(4, false),
                                           std::pair(2, true), std::pair(3, true), std::pair(4, true)));
}

TEST(MemoryNeedsOf, HasOneForEveryModeOfEveryGroup) {
  const auto needs = MemoryNeedsOf(Mini(), 2);
  ASSERT_TRUE(needs.ok()) << needs.status();
  std::map<std::pair<int, bool>, std::map<VramMode, std::int64_t>> bytes;
  for (const ModelMemoryNeed& need : *needs) {
    auto& of = bytes[std::pair(need.world_size, need.fsdp)];
    EXPECT_TRUE(of.emplace(need.vram_mode, need.as_executed_bytes).second);
    EXPECT_EQ(need.reference_bytes > 0, need.vram_mode == VramMode::kStandard);
  }
  EXPECT_EQ(bytes.size(), 3u);
  for (auto& [group, of] : bytes) {
    EXPECT_EQ(of.size(), 4u);
    // The small model takes most where it decodes, which is where the first three are alike.
    EXPECT_LE(of[VramMode::kFp8], of[VramMode::kStandard]);
    EXPECT_LE(of[VramMode::kFp8Offload], of[VramMode::kFp8]);
    if (group.second) {
      EXPECT_EQ(of[VramMode::kFp8Offload], of[VramMode::kFp8]) << "shared weights do not stream";
    }
    if (group.first == 1) {
      EXPECT_LT(of[VramMode::kUltraLow], of[VramMode::kFp8Offload]) << "decoded in strips";
    }
  }
  // Every one is what PlanModel says of it.
  const auto plan =
      PlanModel(Mini(), PrecisionPolicy::kAsExecuted, Mode::kI2v, PlannedRank{}, VramMode::kUltraLow);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(bytes[std::pair(1, false)][VramMode::kUltraLow], plan->bytes_peak);
}

// Within the need a clip of the largest frames settles, and what is of use is where more changes nothing. Of
// the original, where weights are what counts; the small model takes most where it decodes.
TEST(MemoryNeedsOf, SaysWhatTheLowRankFormTakesAndHowMuchIsOfUse) {
  const absl::StatusOr<ModelFolder> original = OpenModelConfig(OVI_SOURCE_DIR "/configs/models/720x720_5s");
  ASSERT_TRUE(original.ok()) << original.status();
  const struct {
    ModelFolder model;
    int gpus;
    std::int64_t low_rank;
  } rows[] = {{Mini(), 2, 16}, {*original, 1, kDefaultRank}};
  for (const auto& row : rows) {
    const auto needs = MemoryNeedsOf(row.model, row.gpus, {}, row.low_rank);
    ASSERT_TRUE(needs.ok()) << needs.status();
    for (const ModelMemoryNeed& need : *needs) {
      for (const std::int64_t low_rank : {std::int64_t{0}, row.low_rank}) {
        SCOPED_TRACE(testing::Message() << row.model.spec.name << " " << ToString(need.vram_mode) << " "
                                        << need.world_size << " " << need.fsdp << " " << low_rank);
        const std::int64_t bytes = low_rank > 0 ? need.low_rank_bytes : need.as_executed_bytes;
        const std::int64_t useful = low_rank > 0 ? need.low_rank_bytes_useful : need.as_executed_bytes_useful;
        const GpuRequest gpus{.allocation = need.fsdp ? GpuAllocation::kFsdp : GpuAllocation::kAuto};
        const auto heads = static_cast<int>(row.model.fusion.video.heads);
        const auto topology = ChooseTopology({.world_size = need.world_size, .gpus = gpus, .heads = heads});
        ASSERT_TRUE(topology.ok()) << topology.status();
        JobSpec job;
        job.sample_steps = 1;
        job.vram_mode = need.vram_mode;
        job.enable_lora = low_rank > 0;
        const auto clip = ResolveClip(job, {.text = "rain"}, 0, row.model, std::nullopt, row.low_rank);
        ASSERT_TRUE(clip.ok()) << clip.status();
        const auto plan = [&](std::int64_t bytes_max) {
          const auto settled = SettleClip(row.model, *clip, {.topology = *topology}, bytes_max);
          EXPECT_TRUE(settled.ok()) << settled.status();
          return settled.ok() ? settled->plan : MemoryPlan{};
        };
        const bool streams = LeastMemoryOf(need.vram_mode).streamed && !need.fsdp;
        if (!streams) {
          EXPECT_EQ(useful, bytes) << "nothing is left out";
        }
        if (!streams && low_rank == 0) continue;  // CoversBothModes and others have it
        const MemoryPlan least = plan(bytes);
        if (!streams) continue;
        const MemoryPlan most = plan(useful);
        EXPECT_EQ(PlannedBytes(most, Stage::kDenoise), PlannedBytes(plan(2 * useful), Stage::kDenoise));
        EXPECT_LE(most.host_bytes, least.host_bytes);
        if (useful > bytes) {
          EXPECT_LT(most.host_bytes, least.host_bytes) << "of use, since less streams";
        }
      }
    }
  }
}

TEST(AllGetHeads, WhereTheSlowestGetsOneBesideTheFastest) {
  EXPECT_TRUE(AllGetHeads(8, 4, {}));
  EXPECT_TRUE(AllGetHeads(8, 1, {100, 1}));
  EXPECT_TRUE(AllGetHeads(8, 2, {7, 1}));
  EXPECT_FALSE(AllGetHeads(8, 2, {8, 1}));
  EXPECT_TRUE(AllGetHeads(8, 3, {3, 1, 4, 1}));
  EXPECT_FALSE(AllGetHeads(8, 4, {3, 1, 4, 1}));
}

// Of whichever GPUs, and on every rank of them.
TEST(MemoryNeedsOf, CoversEveryRankOfUnequalGpus) {
  const std::vector<int> gpus = {1, 3, 2};
  const auto needs = MemoryNeedsOf(Mini(), 3, gpus);
  ASSERT_TRUE(needs.ok()) << needs.status();
  const auto equal = MemoryNeedsOf(Mini(), 3);
  ASSERT_TRUE(equal.ok()) << equal.status();
  ASSERT_EQ(needs->size(), equal->size());
  for (std::size_t i = 0; i < needs->size(); ++i) {
    const ModelMemoryNeed& need = (*needs)[i];
    EXPECT_GE(need.as_executed_bytes, (*equal)[i].as_executed_bytes);
    if (need.world_size != 2) continue;
    for (const std::vector<int>& shares : {std::vector{1, 3}, std::vector{1, 2}, std::vector{3, 2}}) {
      PlannedRank rank{.shares = shares};
      const auto topology = ChooseTopology(
          {.world_size = 2,
           .gpus = {.allocation = need.fsdp ? GpuAllocation::kFsdp : GpuAllocation::kMulti, .gpu_count = 2},
           .heads = 8,
           .shares = shares});
      ASSERT_TRUE(topology.ok()) << topology.status();
      rank.topology = *topology;
      for (rank.rank = 0; rank.rank < 2; ++rank.rank) {
        const auto plan = PlanModel(Mini(), PrecisionPolicy::kAsExecuted, Mode::kI2v, rank, need.vram_mode);
        ASSERT_TRUE(plan.ok()) << plan.status();
        EXPECT_LE(plan->bytes_peak, need.as_executed_bytes)
            << shares[0] << ":" << shares[1] << " " << rank.rank;
      }
    }
  }
}

TEST(WorldSizesOf, AreThoseThatServeOnePassAndTwo) {
  EXPECT_THAT(WorldSizesOf(24, 24), testing::ElementsAre(1, 2, 3, 4, 6, 8, 12, 24));
  EXPECT_THAT(WorldSizesOf(8, 16), testing::ElementsAre(1, 2, 4, 8));
}

// The real networks, whose weights need not be here.
TEST(PlanModel, PlansTheOriginalFromItsShapes) {
  const absl::StatusOr<ModelFolder> model = OpenModelConfig(OVI_SOURCE_DIR "/configs/models/720x720_5s");
  ASSERT_TRUE(model.ok()) << model.status();
  const absl::StatusOr<MemoryPlan> plan = PlanModel(*model, PrecisionPolicy::kAsExecuted, Mode::kI2v);
  ASSERT_TRUE(plan.ok()) << plan.status();
  std::int64_t fusion_bytes = 0;
  for (const TensorSpec& spec : FusionTensors(model->fusion)) {
    fusion_bytes += spec.shape.elements() * ElementBytes(DType::kBF16);
  }
  // 23.3 GB of bf16 weights, and activations of 15.7 thousand tokens beside them.
  EXPECT_GT(plan->stages[1].bytes, fusion_bytes);
  EXPECT_LT(plan->stages[1].bytes, fusion_bytes + (std::int64_t{4} << 30));
  // One of 24 text layers at a time.
  EXPECT_LT(plan->stages[0].bytes, std::int64_t{8} << 30);
  // A fourth of the weights, two block pairs of 730 MB, and activations.
  const PlannedRank one_of_four{.topology = {.world_size = 4, .cfg = 2, .sp = 2, .fsdp = true}};
  const absl::StatusOr<MemoryPlan> shared =
      PlanModel(*model, PrecisionPolicy::kAsExecuted, Mode::kI2v, one_of_four);
  ASSERT_TRUE(shared.ok()) << shared.status();
  EXPECT_LT(shared->stages[1].bytes, fusion_bytes / 4 + 2 * 731'000'000 + (std::int64_t{3} << 30));
  std::map<VramMode, std::int64_t> peaks;
  for (const VramMode mode : {VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow}) {
    const auto of_mode = PlanModel(*model, PrecisionPolicy::kAsExecuted, Mode::kT2v, {}, mode);
    ASSERT_TRUE(of_mode.ok()) << of_mode.status();
    peaks[mode] = of_mode->bytes_peak;
  }
  // Half of the weights; then what decoding takes; then a part of that.
  EXPECT_LT(peaks[VramMode::kFp8], fusion_bytes / 2 + (std::int64_t{3} << 30));
  EXPECT_LT(peaks[VramMode::kFp8Offload], std::int64_t{8} << 30);
  EXPECT_LT(peaks[VramMode::kUltraLow], std::int64_t{5} << 30);
  for (const StageNeed& stage : plan->stages) {
    RecordProperty(std::string(StageName(stage.stage)), std::to_string(stage.bytes));
  }
}

// The video of the smallest preset on four ranks: 4.1 GB a step, where the original sends 8.25.
TEST(StepTraffic, OfTheOriginalIsHalfOfWhatTheOriginalSends) {
  const absl::StatusOr<ModelFolder> model = OpenModelConfig(OVI_SOURCE_DIR "/configs/models/720x720_5s");
  ASSERT_TRUE(model.ok()) << model.status();
  JobSpec job;
  job.size = Size{720, 720};
  job.slg_layer = 11;
  const absl::StatusOr<ClipRequest> clip = ResolveClip(job, {.text = "rain"}, 0, *model, std::nullopt);
  ASSERT_TRUE(clip.ok()) << clip.status();
  for (const Topology& topology :
       {Topology{.world_size = 4, .sp = 4}, Topology{.world_size = 4, .cfg = 2, .sp = 2}}) {
    for (const int rank : {0, 3}) {
      const StepTraffic step = StepTrafficOf({.config = model->fusion,
                                              .latent = clip->latent,
                                              .two_passes = true,
                                              .skip_block = clip->skip_block,
                                              .topology = topology},
                                             rank);
      if (topology.sp == 4) {
        EXPECT_LE(step.all_to_all, 4'200'000'000);
        EXPECT_GE(step.all_to_all, 4'000'000'000);
      }
      ClipRequest steps = *clip;
      CommunicatorCounts sent[2];
      for (int i = 0; i < 2; ++i) {
        steps.steps = i + 1;
        const absl::StatusOr<MemoryPlan> plan = PlanClip(*model, steps, {.topology = topology, .rank = rank});
        ASSERT_TRUE(plan.ok()) << plan.status();
        sent[i] = plan->sent;
      }
      EXPECT_EQ(sent[1].bytes_total() - sent[0].bytes_total(), step.total());
      EXPECT_EQ(sent[1].bytes(Exchange::kAllToAll) - sent[0].bytes(Exchange::kAllToAll), step.all_to_all);
    }
  }
}

}  // namespace
}  // namespace ovi
