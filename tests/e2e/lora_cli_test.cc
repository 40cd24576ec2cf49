// Adapters on the command line: generate merges and reports them, inspect says what they would do. And the
// same key without adapters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/e2e/clip_reader.h"
#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_adapter.h"
#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

// One step of mini-ovi with these loras.
std::vector<std::string> GenerateArgs(const TempFolder& folder, const std::string& loras) {
  return {"generate", "--config", MiniJob(), "--out",          folder / "out",
          "--set",    loras,      "--set",   "sample_steps=1", "--json"};
}

// mini-ovi and an adapter that is named "style" in a models folder of their own.
struct Models {
  Models() {
    LinkModel(folder / "models/mini-ovi");
    std::filesystem::create_directories(folder / "models/loras");
    folder.Write("models/loras/style.safetensors", MiniAdapter());
  }
  Environment environment() const { return {{"OVI_MODELS_DIR", folder / "models"}}; }

  TempFolder folder;
};

TEST(LoraCli, GenerateMergesReportsAndRecordsAdapters) {
  const Models models;
  const std::string file = models.folder.Write(
      "look.safetensors", test::TensorFile()
                              .Add("audio_model.head.head.diff_b", {20}, std::vector<float>(20, 0.125F))
                              .Add("img_emb.proj.0.diff", {1}, {1})
                              .bytes());
  const WorkerRun run =
      RunWorker(GenerateArgs(models.folder, "loras=[style, {path: " + file + ", strength: -0.5}]"),
                models.environment());
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::vector<nlohmann::json> events;
  for (const std::string& line : Lines(run.out)) events.push_back(nlohmann::json::parse(line));
  ASSERT_GE(events.size(), 4u);
  EXPECT_EQ(events[0], nlohmann::json({{"event", "adapter"},
                                       {"path", models.folder / "models/loras/style.safetensors"},
                                       {"strength", 1.0},
                                       {"tensors_used", 12},
                                       {"tensors_changed", 6},
                                       {"unmatched", nlohmann::json::array()}}));
  EXPECT_EQ(events[1]["tensors_changed"], 1);
  EXPECT_EQ(events[1]["unmatched"], nlohmann::json({"img_emb.proj.0.diff"}));
  EXPECT_EQ(events[2]["event"], "warning");
  EXPECT_THAT(events[2]["message"].get<std::string>(), EndsWith("without effect: img_emb.proj.0.diff"));
  EXPECT_EQ(events.back()["event"], "result");
  const absl::StatusOr<std::string> probe = Probe(events.back()["video"].get<std::string>());
  ASSERT_TRUE(probe.ok()) << probe.status();
  EXPECT_EQ(nlohmann::json::parse(*probe)["format"]["tags"]["loras"], "style 1, " + file + " -0.5");
}

// enable_lora alone: the file of compressed weights is made before the clip, and found by the next one.
TEST(LoraCli, GenerateCompressesWeightsWithoutAdapters) {
  const TempFolder folder;
  const Environment cache = {{"OVI_CACHE_DIR", folder / "cache"}};
  for (const char* mode : {"vram_mode=standard", "vram_mode=ultra_low"}) {
    SCOPED_TRACE(mode);
    std::vector<std::string> args = GenerateArgs(folder, "enable_lora=true");
    args.insert(args.end(), {"--set", mode});
    const WorkerRun run = RunWorker(args, cache);
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_THAT(run.err, IsEmpty());
    std::vector<nlohmann::json> events;
    for (const std::string& line : Lines(run.out)) events.push_back(nlohmann::json::parse(line));
    EXPECT_EQ(events.front()["event"], "clip") << "and no warning";
    EXPECT_EQ(events.front()["low_rank"], 128);
    const absl::StatusOr<std::string> probe = Probe(events.back()["video"].get<std::string>());
    ASSERT_TRUE(probe.ok()) << probe.status();
    EXPECT_EQ(nlohmann::json::parse(*probe)["format"]["tags"]["weights"], "low_rank");
    EXPECT_EQ(folder.Files(".safetensors").size(), 1u);
  }
  std::vector<std::string> exact = GenerateArgs(folder, "enable_lora=true");
  exact.insert(exact.end(), {"--set", "precision=reference"});
  const WorkerRun refused = RunWorker(exact, cache);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("enable_lora: without loras it compresses weights"));
}

TEST(LoraCli, GenerateRefusesAdaptersBeforeItComputes) {
  const Models models;
  const std::string foreign = models.folder.Write(
      "foreign.safetensors", test::TensorFile().Add("down_blocks.0.lora_A.weight", {1, 1}, {1}).bytes());
  const struct {
    std::string loras, message;
  } rows[] = {{"loras=[nowhere]", "/models/loras/nowhere.safetensors"},
              {"loras=[" + foreign + "]", foreign + ": no adapter for this model"},
              {"loras=[" + MiniJob() + "]", "mini-ovi.yaml"}};
  for (const auto& row : rows) {
    const WorkerRun run = RunWorker(GenerateArgs(models.folder, row.loras), models.environment());
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_EQ(Lines(run.err).size(), 1u) << run.err;
    EXPECT_THAT(run.err, HasSubstr("loras: "));
    EXPECT_THAT(run.err, HasSubstr(row.message));
    EXPECT_FALSE(std::filesystem::exists(models.folder / "out"));
  }
}

TEST(LoraCli, InspectHoldsAnAdapterAgainstAModelWhoseWeightsAreElsewhere) {
  const Models models;
  const std::string adapter = models.folder / "models/loras/style.safetensors";
  const WorkerRun fits = RunWorker({"inspect", adapter, "--model", "mini-ovi"});
  EXPECT_EQ(fits.exit_code, 0) << fits.err;
  EXPECT_THAT(fits.out, HasSubstr("\nLoRA adapter: 6 pairs of rank 2, 0 differences in full\n"));
  EXPECT_THAT(fits.out, EndsWith("style.safetensors: 12 of 12 tensors used, 6 of the model's changed\n"));
  const WorkerRun other = RunWorker({"inspect", adapter, "--model", "720x720_5s"});
  EXPECT_EQ(other.exit_code, 0) << other.err;
  EXPECT_THAT(other.out, HasSubstr("\ndoes not fit: "));
  EXPECT_THAT(other.out,
              HasSubstr("expected (rank)x3072 for audio_model.blocks.0.self_attn.v.weight (3072x3072)"));
  const WorkerRun nowhere = RunWorker({"inspect", adapter, "--model", "nowhere"});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.out, IsEmpty());
  EXPECT_THAT(nowhere.err, HasSubstr("nowhere/Ovi/configs/video.json"));
}

}  // namespace
}  // namespace ovi
