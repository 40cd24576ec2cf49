// Every vram_mode on ranks of real MPI takes what its plan says, to the byte, within whatever limit, and
// makes clips that differ as little as the mode promises. Three models: mini-ovi, the tiny one of the golden
// set, and two blocks of the original's width between mini-ovi's other networks.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/parallel.h"
#include "tests/bench/real_model.h"
#include "tests/golden/configs.h"
#include "tests/parallel/rank_main.h"
#include "tests/pipeline/clip_sinks.h"
#include "tests/pipeline/mini_model.h"
#include "worker/model/fusion_params.h"
#include "worker/parallel/mpi_communicator.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/unit_folder.h"
#include "worker/plan/clip_plan.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

constexpr VramMode kModes[] = {VramMode::kStandard, VramMode::kFp8, VramMode::kFp8Offload,
                               VramMode::kUltraLow};
constexpr std::int64_t kPlenty = std::int64_t{8} << 30;

int Rank() {
  return Session().rank();
}
int Ranks() {
  return Session().size();
}

// All ranks of a test share the files of streamed weights.
std::string CacheDir() {
  return OVI_TEST_CACHE_DIR "/" + std::to_string(Ranks());
}

// Those of the real width take gigabytes of disk. Ranks that are behind keep what they have mapped.
void RemoveUnitFolders() {
  if (Rank() == 0) std::filesystem::remove_all(CacheDir());
}

// A model, and how its engine finds its weights.
struct Subject {
  std::string name;
  ModelFolder model;
  EngineFiles files;
  Size size;
  int steps = 2;
};

EngineFiles FilesWithCache() {
  return {.open_weights = OpenWeights,
          .open_shelf = [](const std::string& identity) { return MakeUnitFolder(CacheDir(), identity); }};
}

ModelFolder MiniFolder() {
  const absl::StatusOr<ModelFolder> model = OpenModelFolder(MiniModel(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

Subject Mini() {
  return {.name = "mini-ovi", .model = MiniFolder(), .files = FilesWithCache(), .size = {96, 96}};
}

// The golden set's networks and weights as a model.
Subject Golden() {
  const std::string folder = OVI_SOURCE_DIR "/tests/golden/open";
  const absl::StatusOr<golden::Set> set = golden::Set::Open(folder);
  EXPECT_TRUE(set.ok()) << set.status();
  Subject subject{.name = "golden", .model = MiniFolder(), .files = FilesWithCache(), .size = {64, 96}};
  ModelFolder& model = subject.model;
  model.fusion = *golden::FusionConfigOf(*set);
  model.text = *golden::TextConfigOf(*set);
  model.video_vae = *golden::VideoVaeConfigOf(*set);
  model.audio_vae = *golden::AudioVaeConfigOf(*set);
  model.vocoder = *golden::VocoderConfigOf(*set);
  model.fusion_weights = folder + "/weights_dit.safetensors";
  model.text_weights = folder + "/weights_t5.safetensors";
  model.video_vae_weights = folder + "/weights_video_vae.safetensors";
  model.audio_vae_weights = folder + "/weights_audio_vae.safetensors";
  model.vocoder_weights = folder + "/weights_vocoder.safetensors";
  model.spec.video_latent_frames = 2;
  model.spec.audio_latent_length = 10;
  return subject;
}

// Of weights that stay where they are.
class BorrowedSource final : public WeightSource {
 public:
  explicit BorrowedSource(const WeightSource& source) : source_(source) {}
  const std::string& path() const override { return source_.path(); }
  const std::map<std::string, std::string>& metadata() const override { return source_.metadata(); }
  std::vector<TensorInfo> List() const override { return source_.List(); }
  absl::StatusOr<HostTensor> Find(std::string_view name) const override { return source_.Find(name); }

 private:
  const WeightSource& source_;
};

Subject RealWidth() {
  Subject subject{
      .name = "real width", .model = MiniFolder(), .files = FilesWithCache(), .size = {64, 64}, .steps = 1};
  ModelFolder& model = subject.model;
  const FusionConfig mini = model.fusion;
  model.fusion = {.video = bench::RealTower(true, 2), .audio = bench::RealTower(false, 2)};
  for (const auto& [tower, small] :
       {std::pair{&model.fusion.video, &mini.video}, std::pair{&model.fusion.audio, &mini.audio}}) {
    tower->in_dim = small->in_dim;
    tower->out_dim = small->out_dim;
    tower->text_dim = small->text_dim;
    tower->text_len = small->text_len;
  }
  model.spec.video_latent_frames = 2;
  model.spec.audio_latent_length = 8;
  model.fusion_weights = "synthetic";
  static const bench::SyntheticWeights weights(FusionTensors(model.fusion));
  subject.files.open_weights = [](const std::string& path) -> absl::StatusOr<std::unique_ptr<WeightSource>> {
    if (path != "synthetic") return OpenWeights(path);
    return std::make_unique<BorrowedSource>(weights);
  };
  return subject;
}

ClipRequest ClipOf(const Subject& subject, VramMode mode) {
  JobSpec job;
  job.sample_steps = subject.steps;
  job.size = subject.size;
  job.vram_mode = mode;
  job.slg_layer = 1;
  const absl::StatusOr<ClipRequest> clip = ResolveClip(
      job, {.text = "A red circle moves right. Audio: a low tone."}, 0, subject.model, std::nullopt);
  EXPECT_TRUE(clip.ok()) << clip.status();
  return *clip;
}

PlannedRank PlaceOf(const Subject& subject, bool fsdp) {
  const absl::StatusOr<Topology> topology =
      ChooseTopology({.world_size = Ranks(),
                      .gpus = {.allocation = fsdp ? GpuAllocation::kFsdp : GpuAllocation::kAuto},
                      .heads = static_cast<int>(subject.model.fusion.video.heads)});
  EXPECT_TRUE(topology.ok()) << topology.status();
  return {.topology = *topology, .rank = Rank(), .shares = {}};
}

// This rank's part of the clip, in an arena of `bytes`.
absl::StatusOr<ClipReport> Compute(const Subject& subject, const ClipRequest& clip, const PlannedRank& place,
                                   std::int64_t bytes, KeepingSink& sink) {
  cpu::SetThreadCount(1);
  const std::unique_ptr<Backend> backend = MakeCpuBackend();
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Create(*backend, bytes, subject.model, subject.files);
  if (!engine.ok()) return engine.status();
  ClipInputs inputs;
  // The golden model has no tokenizer.
  if (subject.name == "golden") inputs.assumed_prompt_tokens = 5;
  if (Ranks() == 1) return (*engine)->Generate(clip, inputs, {}, sink);
  const std::unique_ptr<Communicator> world = *NewMpiCommunicator({});
  absl::StatusOr<std::unique_ptr<RankGroup>> ranks = RankGroup::Make(*world, place.topology, place.shares);
  if (!ranks.ok()) return ranks.status();
  return Rank() == 0 ? (*engine)->Generate(clip, inputs, {}, sink, ranks->get())
                     : (*engine)->Assist(clip, inputs, {}, **ranks);
}

MemoryPlan PlanOf(const Subject& subject, const ClipRequest& clip, const PlannedRank& place) {
  const absl::StatusOr<MemoryPlan> plan =
      PlanClip(subject.model, clip, place,
               subject.name == "golden" ? PlannedPrompts::kLongest : PlannedPrompts::kAsWritten);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.value_or(MemoryPlan{});
}

// Encoding depends on the prompt's length, which the golden model's plan takes to be the longest.
void ExpectTaken(const Subject& subject, const MemoryPlan& plan, const ClipReport& report) {
  ASSERT_EQ(plan.stages.size(), report.stages.size());
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const std::string stage(StageName(plan.stages[i].stage));
    if (subject.name == "golden" && plan.stages[i].stage == Stage::kEncode) {
      EXPECT_LE(report.stages[i].arena_bytes_peak, plan.stages[i].bytes) << stage;
      continue;
    }
    EXPECT_EQ(report.stages[i].arena_bytes_peak, plan.stages[i].bytes) << stage;
    EXPECT_EQ(report.stages[i].peak_by_use, plan.stages[i].by_use) << stage;
  }
}

// A mode with no limit, and with half of what that took above the least, in an arena of exactly the plan.
void ExpectEveryModeTakesItsPlan(const Subject& subject, bool fsdp) {
  const PlannedRank place = PlaceOf(subject, fsdp);
  for (const VramMode mode : kModes) {
    // With fsdp it is fp8, which has been seen.
    if (fsdp && mode == VramMode::kFp8Offload && subject.steps == 1) continue;
    const absl::StatusOr<SettledClip> free = SettleClip(subject.model, ClipOf(subject, mode), place, 0);
    ASSERT_TRUE(free.ok()) << free.status();
    std::vector<SettledClip> clips = {*free};
    if (free->clip.memory.streamed && subject.steps > 1) {
      // As little as it can do with: small models' weights all fit beside what decoding takes.
      const ClipRequest least = ClipOf(subject, mode);
      clips.push_back({least, PlanOf(subject, least, place)});
      if (!fsdp) {
        EXPECT_GT(clips.back().plan.host_bytes, 0) << "streams";
      }
    }
    if (mode == VramMode::kFp8Offload && subject.steps > 1) {
      // More room than the least, so that some blocks stay.
      const std::int64_t room = free->plan.bytes_peak + free->plan.host_bytes / 3;
      clips.push_back(*SettleClip(subject.model, ClipOf(subject, mode), place, room));
      EXPECT_LE(clips.back().plan.bytes_peak, room);
    }
    for (const SettledClip& settled : clips) {
      SCOPED_TRACE(absl::StrCat(subject.name, " ", ToString(mode), fsdp ? " fsdp" : "", ", rank ", Rank(),
                                ", strips ", settled.clip.memory.decode_strips));
      const MemoryPlan plan = PlanOf(subject, settled.clip, place);
      EXPECT_LE(plan.bytes_peak, settled.plan.bytes_peak) << "the plan is of the rank that takes most";
      KeepingSink sink;
      const absl::StatusOr<ClipReport> report =
          Compute(subject, settled.clip, place, settled.plan.bytes_peak, sink);
      ASSERT_TRUE(report.ok()) << report.status();
      ExpectTaken(subject, plan, *report);
    }
  }
}

TEST(VramModes, TakeWhatIsPlannedOnMiniOvi) {
  for (const bool fsdp : Ranks() == 1 ? std::vector{false} : std::vector{false, true}) {
    ExpectEveryModeTakesItsPlan(Mini(), fsdp);
  }
}

TEST(VramModes, TakeWhatIsPlannedOnTheGoldenModel) {
  for (const bool fsdp : Ranks() == 1 ? std::vector{false} : std::vector{false, true}) {
    ExpectEveryModeTakesItsPlan(Golden(), fsdp);
  }
}

// "Key:  N kB" of a file in /proc, in bytes.
std::int64_t ProcBytes(const std::string& file, const std::string& key) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

TEST(VramModes, TakeWhatIsPlannedOnBlocksOfTheRealWidth) {
  if (Ranks() == 4) ExpectEveryModeTakesItsPlan(RealWidth(), true);
  // Four copies of its weights and of what is computed take 12 GB; four shares do not.
  constexpr std::int64_t kFourCopies = std::int64_t{18} << 30;
  if (Ranks() < 4 || ProcBytes("/proc/meminfo", "MemTotal") > kFourCopies) {
    ExpectEveryModeTakesItsPlan(RealWidth(), false);
  } else {
    std::printf("multi_4 at the real width is left out: %lld bytes of memory\n",
                static_cast<long long>(ProcBytes("/proc/meminfo", "MemTotal")));
  }
  RemoveUnitFolders();
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += std::pow(double{a[i]} - b[i], 2);
    norm += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(error / norm);
}

// Streaming changes where weights are and nothing else; each format changes the clip, and not much.
TEST(VramModes, MakeTheClipOfTheirFormat) {
  const Subject subject = Mini();
  const PlannedRank place = PlaceOf(subject, false);
  std::map<VramMode, ClipReport> reports;
  std::map<VramMode, std::vector<std::uint8_t>> frames;
  for (const VramMode mode : kModes) {
    KeepingSink sink;
    // Not settled: with the least memory, where streamed weights do stream.
    const absl::StatusOr<ClipReport> report = Compute(subject, ClipOf(subject, mode), place, kPlenty, sink);
    ASSERT_TRUE(report.ok()) << report.status();
    reports[mode] = *report;
    frames[mode] = sink.frames;
  }
  const Latents& standard = reports[VramMode::kStandard].latents;
  EXPECT_EQ(reports[VramMode::kFp8].latents.video, reports[VramMode::kFp8Offload].latents.video);
  EXPECT_EQ(reports[VramMode::kFp8].latents.audio, reports[VramMode::kFp8Offload].latents.audio);
  EXPECT_EQ(frames[VramMode::kFp8], frames[VramMode::kFp8Offload]);
  EXPECT_EQ(frames[VramMode::kUltraLow].size(), frames[VramMode::kStandard].size());
  const double fp8 = RelativeError(reports[VramMode::kFp8].latents.video, standard.video);
  const double int8 = RelativeError(reports[VramMode::kUltraLow].latents.video, standard.video);
  EXPECT_GT(fp8, 1e-4) << "not in use";
  EXPECT_LT(fp8, 0.1);
  EXPECT_GT(int8, 1e-4) << "not in use";
  EXPECT_LT(int8, 0.1);
}

// The limit decides before anything is computed, and says what would fit.
TEST(SettleClip, RefusesOneByteLessThanTheModeTakes) {
  const Subject subject = Mini();
  const PlannedRank place = PlaceOf(subject, false);
  for (const VramMode mode : kModes) {
    SCOPED_TRACE(ToString(mode));
    // With as many strips as there can be: what no limit can lower.
    ClipRequest clip = ClipOf(subject, mode);
    std::int64_t low = 1, high = kPlenty;  // fits at high, not at low
    while (high - low > 1) {
      const std::int64_t middle = low + (high - low) / 2;
      (SettleClip(subject.model, clip, place, middle).ok() ? high : low) = middle;
      if (Ranks() > 1 && high - low < 64) break;
    }
    const absl::StatusOr<SettledClip> fits = SettleClip(subject.model, clip, place, high);
    ASSERT_TRUE(fits.ok()) << fits.status();
    EXPECT_LE(fits->plan.bytes_peak, high);
    const absl::Status refused = SettleClip(subject.model, clip, place, low).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.message()),
                testing::HasSubstr(absl::StrCat("vram_mode ", ToString(mode), " takes")));
    EXPECT_THAT(std::string(refused.message()), testing::HasSubstr(absl::StrCat("bytes_max=", low)));
  }
}

TEST(SettleClip, AutoTakesTheBestThatFits) {
  const Subject subject = RealWidth();
  const PlannedRank place = PlaceOf(subject, false);
  const auto settle = [&](VramMode mode, std::int64_t bytes) {
    return SettleClip(subject.model, ClipOf(subject, mode), place, bytes);
  };
  const std::int64_t standard = settle(VramMode::kStandard, 0)->plan.bytes_peak;
  EXPECT_EQ(settle(VramMode::kAuto, 0)->clip.vram_mode, VramMode::kStandard);
  EXPECT_EQ(settle(VramMode::kAuto, standard)->clip.vram_mode, VramMode::kStandard);
  EXPECT_EQ(settle(VramMode::kAuto, standard / 2)->clip.vram_mode, VramMode::kUltraLow);
  const absl::Status never = settle(VramMode::kAuto, 1 << 20).status();
  EXPECT_EQ(never.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(never.message()), testing::HasSubstr("the least is taken by "));
}

// What the process takes beyond its start is its arena, the streamed weights that it has mapped, and little
// else.
TEST(VramModes, ExplainTheProcess) {
  if (Ranks() > 1) GTEST_SKIP() << "one process";
  const Subject subject = RealWidth();
  const PlannedRank place = PlaceOf(subject, false);
  for (const VramMode mode : kModes) {
    SCOPED_TRACE(ToString(mode));
    const absl::StatusOr<SettledClip> settled = SettleClip(subject.model, ClipOf(subject, mode), place, 0);
    ASSERT_TRUE(settled.ok()) << settled.status();
    const auto run = [&] {
      KeepingSink sink;
      const absl::StatusOr<ClipReport> report =
          Compute(subject, settled->clip, place, settled->plan.bytes_peak, sink);
      EXPECT_TRUE(report.ok()) << report.status();
    };
    run();  // makes the file of streamed weights, through a buffer of its own
    const std::int64_t before = ProcBytes("/proc/self/status", "VmRSS");
    std::ofstream("/proc/self/clear_refs") << "5";  // VmHWM begins anew
    run();
    const auto taken = static_cast<double>(ProcBytes("/proc/self/status", "VmHWM") - before);
    const auto planned = static_cast<double>(settled->plan.bytes_peak + settled->plan.host_bytes);
    EXPECT_NEAR(taken / planned, 1.0, 0.1) << taken << " bytes taken, " << planned << " planned";
  }
  RemoveUnitFolders();
}

}  // namespace
}  // namespace ovi
