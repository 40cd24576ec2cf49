// A group at work: real ranks under mpirun, a real gRPC server that plays the coordinator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/small_file.h"
#include "base/subprocess.h"
#include "tests/group/fake_coordinator.h"
#include "tests/group/group_process.h"
#include "tests/pipeline/mini_adapter.h"
#include "tests/pipeline/mini_model.h"
#include "worker/media/image.h"

namespace ovi {
namespace {

constexpr int kSteps = 3;

const v1::AttemptRef kFirst = RefOf("12", 1);
const v1::AttemptRef kSecond = RefOf("13", 1);

// "denoise 2/3" of the messages of one attempt, repeats left out.
std::vector<std::string> Told(const FakeCoordinator& coordinator, const v1::AttemptRef& attempt) {
  std::vector<std::string> told;
  for (const v1::AttemptProgress& message : coordinator.progress()) {
    if (message.attempt().job_id() != attempt.job_id()) continue;
    const std::string word = v1::Stage_Name(message.progress().stage()) + " " +
                             std::to_string(message.progress().step()) + "/" +
                             std::to_string(message.progress().steps());
    if (told.empty() || told.back() != word) told.push_back(word);
  }
  return told;
}

// Runs one attempt and returns how it ended.
v1::AttemptFinished RunOne(FakeCoordinator& coordinator, const v1::AttemptRef& attempt,
                           const v1::JobSpec& spec) {
  const std::size_t before = coordinator.finished_count();
  EXPECT_TRUE(coordinator.Run(attempt, spec));
  const std::vector<v1::AttemptFinished> finished = coordinator.WaitForFinished(before + 1);
  return finished.size() > before ? finished[before] : v1::AttemptFinished();
}

// Checksums of all decoded frames and samples.
std::string DecodedSums(const std::string& mp4) {
  const TempFolder folder;
  const absl::StatusOr<CapturedRun> run =
      RunAndCapture({"ffmpeg", "-v", "error", "-i", folder.Write("video.mp4", mp4), "-f", "framemd5", "-"});
  EXPECT_TRUE(run.ok() && run->exit.ok()) << run.status();
  return run.ok() ? run->stdout_text : "";
}

bool StartsWith(const std::map<std::string, std::string>& artifacts, const std::string& name,
                const std::string& magic, std::size_t at) {
  const auto found = artifacts.find(name);
  return found != artifacts.end() && found->second.compare(at, magic.size(), magic) == 0;
}

class GroupOfRanks : public testing::TestWithParam<int> {
 protected:
  GroupOfRanks() : coordinator_(kGroupToken), group_(FactsFor(coordinator_, GetParam()), GetParam()) {}
  ~GroupOfRanks() override {
    coordinator_.ShutDown();
    EXPECT_TRUE(group_.WaitForEnd().ok()) << group_.log();
    EXPECT_TRUE(group_.WaitUntilNothingLives());
    EXPECT_THAT(group_.log(), testing::Not(testing::HasSubstr(kGroupToken)));
    EXPECT_THAT(group_.log(), testing::Not(testing::HasSubstr("red circle"))) << "a prompt in the log";
  }

  FakeCoordinator coordinator_;
  GroupProcess group_;
};

TEST_P(GroupOfRanks, SaysWhatItIs) {
  const std::vector<v1::GroupHello> hellos = coordinator_.WaitForHellos(1);
  ASSERT_EQ(hellos.size(), 1u);
  EXPECT_EQ(hellos[0].protocol_version(), 1);
  EXPECT_EQ(hellos[0].group_id(), "g12-1");
  EXPECT_EQ(hellos[0].node(), "box-1");
  EXPECT_EQ(hellos[0].gpu_indices_size(), GetParam());
  EXPECT_EQ(hellos[0].bytes_per_rank(), std::int64_t{64} << 20);
  EXPECT_EQ(hellos[0].model_name(), "mini-ovi");
  EXPECT_EQ(hellos[0].world_size(), GetParam());
  EXPECT_FALSE(hellos[0].has_running());
}

TEST_P(GroupOfRanks, MakesAClipAndHandsItOver) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  const v1::AttemptFinished finished = RunOne(coordinator_, kFirst, MiniJobSpec(kSteps));
  EXPECT_EQ(finished.end(), v1::ATTEMPT_END_COMPLETED) << finished.message();
  EXPECT_EQ(finished.message(), "");
  const std::vector<std::string> told = Told(coordinator_, kFirst);
  EXPECT_THAT(told, testing::IsSupersetOf({"STAGE_DENOISE 3/3", "STAGE_DECODE 7/7"}));

  ASSERT_EQ(finished.artifacts_size(), 3);
  EXPECT_EQ(finished.artifacts(0).kind(), v1::ARTIFACT_KIND_VIDEO);
  EXPECT_EQ(finished.artifacts(1).kind(), v1::ARTIFACT_KIND_POSTER);
  EXPECT_EQ(finished.artifacts(2).kind(), v1::ARTIFACT_KIND_CONTACT_SHEET);
  const std::map<std::string, std::string> files = coordinator_.artifacts();
  EXPECT_TRUE(StartsWith(files, "12/1/video.mp4", "ftyp", 4));
  EXPECT_TRUE(StartsWith(files, "12/1/poster.png", "\x89PNG", 0));
  EXPECT_TRUE(StartsWith(files, "12/1/contact_sheet.png", "\x89PNG", 0));
}

TEST_P(GroupOfRanks, ReportsTheMemoryOfEveryRankAndStage) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  const v1::AttemptFinished finished = RunOne(coordinator_, kFirst, MiniJobSpec(1));
  std::vector<std::string> reported;
  for (const v1::MemoryReport& memory : finished.memory()) {
    reported.push_back(std::to_string(memory.rank()) + " " + v1::Stage_Name(memory.stage()));
    EXPECT_LT(memory.device_bytes_planned(), std::int64_t{64} << 20) << "the stage's, not the arena's limit";
    // The others wait while rank 0 encodes.
    if (memory.rank() == 0 || memory.stage() != v1::STAGE_ENCODE) {
      EXPECT_GT(memory.device_bytes_peak(), 0);
    }
    EXPECT_LE(memory.device_bytes_peak(), memory.device_bytes_planned());
    EXPECT_GT(memory.seconds(), 0);
  }
  std::vector<std::string> expected;
  for (int rank = 0; rank < GetParam(); ++rank) {
    for (const char* stage : {" STAGE_ENCODE", " STAGE_DENOISE", " STAGE_DECODE"}) {
      expected.push_back(std::to_string(rank) + stage);
    }
  }
  EXPECT_THAT(reported, testing::UnorderedElementsAreArray(expected));

  std::vector<v1::Stage> told;  // while it ran, each once
  for (const v1::AttemptProgress& progress : coordinator_.progress()) {
    for (const v1::MemoryReport& memory : progress.memory()) told.push_back(memory.stage());
  }
  EXPECT_THAT(told, testing::ElementsAre(v1::STAGE_ENCODE, v1::STAGE_DENOISE));
}

TEST_P(GroupOfRanks, MakesTheNextClipWithoutStartingAnew) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  const std::vector<pid_t> pids = group_.RankPids();
  EXPECT_EQ(RunOne(coordinator_, kFirst, MiniJobSpec(2)).end(), v1::ATTEMPT_END_COMPLETED);
  EXPECT_EQ(RunOne(coordinator_, kSecond, MiniJobSpec(2)).end(), v1::ATTEMPT_END_COMPLETED);
  EXPECT_EQ(group_.RankPids(), pids);
  EXPECT_EQ(coordinator_.WaitForHellos(1).size(), 1u) << "one stream served both";
  const std::map<std::string, std::string> files = coordinator_.artifacts();
  EXPECT_EQ(files.at("12/1/video.mp4"), files.at("13/1/video.mp4")) << "the same job, the same clip";
}

TEST_P(GroupOfRanks, KeepsNoFilesOfAcknowledgedAttempts) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  EXPECT_EQ(RunOne(coordinator_, kFirst, MiniJobSpec(1)).end(), v1::ATTEMPT_END_COMPLETED);
  EXPECT_EQ(RunOne(coordinator_, kSecond, MiniJobSpec(0)).end(), v1::ATTEMPT_END_BAD_INPUT);
  EXPECT_THAT(group_.folder().Files(".mp4"), testing::IsEmpty());
  EXPECT_THAT(group_.folder().Files(".png"), testing::IsEmpty());
  EXPECT_THAT(group_.folder().Files(".part"), testing::IsEmpty());
}

TEST_P(GroupOfRanks, RefusesWhatCannotBeMadeAnywhereAndGoesOn) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  v1::JobSpec unknown_input = MiniJobSpec(1);
  unknown_input.set_mode(v1::MODE_I2V);
  unknown_input.set_first_frame_sha256(std::string(64, 'a'));
  v1::JobSpec no_image = unknown_input;
  no_image.set_first_frame_sha256(coordinator_.AddInput("this is no picture"));
  v1::JobSpec long_clip = MiniJobSpec(1);
  long_clip.set_duration_seconds(20);
  v1::JobSpec adapters = MiniJobSpec(1);
  adapters.set_enable_lora(true);
  adapters.add_loras()->set_path("nowhere");
  v1::JobSpec outside = adapters;
  outside.mutable_loras(0)->set_path("../mini-ovi/Ovi/model_96x96_1s");
  const struct {
    v1::JobSpec spec;
    const char* message;
    v1::AttemptEnd end = v1::ATTEMPT_END_BAD_INPUT;
  } rows[] = {{MiniJobSpec(0), "sample_steps"},
              {unknown_input, "first frame"},
              {no_image, "first frame"},
              {long_clip, "duration"},
              {adapters, "/loras/nowhere.safetensors", v1::ATTEMPT_END_NODE_NOT_READY},
              {outside, "loras[0].path"}};
  int job = 100;
  for (const auto& row : rows) {
    const v1::AttemptFinished finished = RunOne(coordinator_, RefOf(std::to_string(++job), 1), row.spec);
    EXPECT_EQ(finished.end(), row.end) << row.message;
    EXPECT_THAT(finished.message(), testing::HasSubstr(row.message));
    EXPECT_EQ(finished.artifacts_size(), 0);
  }
  v1::JobSpec other_model = MiniJobSpec(1);
  other_model.set_model_name("960x960_5s");
  const v1::AttemptFinished misled = RunOne(coordinator_, RefOf("200", 1), other_model);
  EXPECT_EQ(misled.end(), v1::ATTEMPT_END_WORKER_CRASH) << "the job is good, this group is not its own";
  EXPECT_EQ(RunOne(coordinator_, kFirst, MiniJobSpec(1)).end(), v1::ATTEMPT_END_COMPLETED);
}

TEST_P(GroupOfRanks, StopsWhenCancelledAndStaysWarm) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  ASSERT_TRUE(coordinator_.Run(kFirst, MiniJobSpec(1000)));
  ASSERT_TRUE(coordinator_.WaitForProgress([](const v1::AttemptProgress& p) {
    return p.progress().stage() == v1::STAGE_DENOISE && p.progress().step() >= 1;
  }));
  ASSERT_TRUE(coordinator_.Cancel(kFirst));
  const std::vector<v1::AttemptFinished> finished = coordinator_.WaitForFinished(1);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].end(), v1::ATTEMPT_END_CANCELLED);
  EXPECT_EQ(finished[0].artifacts_size(), 0);
  EXPECT_LT(coordinator_.progress().back().progress().step(), 900) << "it went on to the end";
  EXPECT_EQ(RunOne(coordinator_, kSecond, MiniJobSpec(1)).end(), v1::ATTEMPT_END_COMPLETED);
}

TEST_P(GroupOfRanks, SharesTheOnePassOfGuidanceOne) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  v1::JobSpec spec = MiniJobSpec(2);
  spec.set_video_guidance_scale(1);
  spec.set_audio_guidance_scale(1);
  const v1::AttemptFinished finished = RunOne(coordinator_, kFirst, spec);
  EXPECT_EQ(finished.end(), v1::ATTEMPT_END_COMPLETED) << finished.message();
  EXPECT_EQ(RunOne(coordinator_, kSecond, MiniJobSpec(1)).end(), v1::ATTEMPT_END_COMPLETED);
}

TEST_P(GroupOfRanks, TakesNoProcessorWhileIdle) {
  ASSERT_EQ(coordinator_.WaitForHellos(1).size(), 1u);
  const std::vector<pid_t> pids = group_.RankPids();
  ASSERT_EQ(static_cast<int>(pids.size()), GetParam());
  double before = 0;
  for (const pid_t pid : pids) before += CpuSeconds(pid);
  // Not work, but a wait for nothing: a rank that spins takes all of it.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  double after = 0;
  for (const pid_t pid : pids) after += CpuSeconds(pid);
  RecordProperty("cpu_ms_of_2000", std::to_string((after - before) * 1e3));
  EXPECT_LT(after - before, 1.0);
}

INSTANTIATE_TEST_SUITE_P(Group, GroupOfRanks, testing::Values(1, 2),
                         [](const testing::TestParamInfo<int>& ranks) {
                           return std::string("Of") + (ranks.param == 1 ? "OneRank" : "TwoRanks");
                         });

// The clip that `ranks` ranks make of the job. `models_dir`: another one than the shipped.
std::map<std::string, std::string> Made(int ranks, v1::JobSpec spec, const std::string& image,
                                        const std::string& models_dir = "") {
  FakeCoordinator coordinator(kGroupToken);
  GroupFacts facts = FactsFor(coordinator, ranks);
  if (!models_dir.empty()) facts.models_dir = models_dir;
  GroupProcess group(facts, ranks);
  EXPECT_EQ(coordinator.WaitForHellos(1).size(), 1u);
  if (!image.empty()) {
    spec.set_mode(v1::MODE_I2V);
    spec.set_first_frame_sha256(coordinator.AddInput(image));
  }
  const v1::AttemptFinished finished = RunOne(coordinator, kFirst, spec);
  EXPECT_EQ(finished.end(), v1::ATTEMPT_END_COMPLETED) << finished.message();
  coordinator.ShutDown();
  EXPECT_TRUE(group.WaitForEnd().ok());
  return coordinator.artifacts();
}

void ExpectSameClip(const std::map<std::string, std::string>& a,
                    const std::map<std::string, std::string>& b) {
  ASSERT_EQ(a.size(), 3u);
  ASSERT_EQ(b.size(), 3u);
  EXPECT_EQ(DecodedSums(a.at("12/1/video.mp4")), DecodedSums(b.at("12/1/video.mp4")));
  EXPECT_GT(DecodedSums(a.at("12/1/video.mp4")).size(), 1000u) << "25 frames and the sound";
  EXPECT_EQ(a.at("12/1/poster.png"), b.at("12/1/poster.png"));
  EXPECT_EQ(a.at("12/1/contact_sheet.png"), b.at("12/1/contact_sheet.png"));
}

TEST(GroupRanks, TwoMakeTheClipThatOneMakesBitForBit) {
  for (const v1::Precision precision : {v1::PRECISION_AS_EXECUTED, v1::PRECISION_REFERENCE}) {
    v1::JobSpec spec = MiniJobSpec(4);
    spec.set_precision(precision);
    ExpectSameClip(Made(1, spec, ""), Made(2, spec, ""));
  }
}

TEST(GroupRanks, TwoMakeTheClipOfAnImageThatOneMakes) {
  Image picture{.height = 120, .width = 160, .rgb = {}};
  for (int i = 0; i < 120 * 160 * 3; ++i) picture.rgb.push_back(static_cast<std::uint8_t>(i * i / 977));
  const TempFolder folder;
  ASSERT_EQ(WritePng(folder / "picture.png", picture), absl::OkStatus());
  const absl::StatusOr<std::string> image = ReadSmallFile(folder / "picture.png", 1 << 20);
  ASSERT_TRUE(image.ok()) << image.status();
  ExpectSameClip(Made(1, MiniJobSpec(3), *image), Made(2, MiniJobSpec(3), *image));
}

TEST(GroupRanks, TwoMergeTheAdaptersThatOneMerges) {
  const TempFolder models;
  LinkModel(models / "mini-ovi");
  std::filesystem::create_directories(models / "loras");
  models.Write("loras/style.safetensors", MiniAdapter());
  v1::JobSpec spec = MiniJobSpec(3);
  spec.set_enable_lora(true);
  spec.add_loras()->set_path("style");
  spec.mutable_loras(0)->set_strength(0.5);
  const std::map<std::string, std::string> one = Made(1, spec, "", models.path());
  ExpectSameClip(one, Made(2, spec, "", models.path()));
  EXPECT_NE(one.at("12/1/poster.png"), Made(1, MiniJobSpec(3), "").at("12/1/poster.png"));
}

TEST(GroupRanks, TwoComputeWithTheCompressedWeightsThatOneMade) {
  const TempFolder cache;
  setenv("OVI_CACHE_DIR", cache.path().c_str(), 1);
  v1::JobSpec spec = MiniJobSpec(3);
  spec.set_enable_lora(true);
  const std::map<std::string, std::string> one = Made(1, spec, "");
  EXPECT_EQ(cache.Files(".safetensors").size(), 1u);
  ExpectSameClip(one, Made(2, spec, ""));
  spec.set_gpu_allocation(v1::GPU_ALLOCATION_FSDP);
  ExpectSameClip(one, Made(2, spec, ""));
  EXPECT_EQ(cache.Files(".safetensors").size(), 1u);
  unsetenv("OVI_CACHE_DIR");
  EXPECT_NE(one.at("12/1/poster.png"), Made(1, MiniJobSpec(3), "").at("12/1/poster.png"));
}

TEST(GroupRanks, OneNeedsNoMpirun) {
  FakeCoordinator coordinator(kGroupToken);
  GroupProcess group(FactsFor(coordinator, 1), 1, GroupProcess::Launch::kAlone);
  ASSERT_EQ(coordinator.WaitForHellos(1).size(), 1u);
  EXPECT_EQ(RunOne(coordinator, kFirst, MiniJobSpec(1)).end(), v1::ATTEMPT_END_COMPLETED);
  coordinator.ShutDown();
  EXPECT_TRUE(group.WaitForEnd().ok());
}

}  // namespace
}  // namespace ovi
