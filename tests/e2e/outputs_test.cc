// The files of a good run: complete, described, named as promised, and the same again for the same seed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/clip_reader.h"
#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_model.h"
#include "worker/media/image.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using testing::ElementsAre;

constexpr const char* kStem = "A_red_circle_moves_right_across_a_black_background_96x96_";

// The shipped job with fewer steps: these tests look at files, not at pictures.
WorkerRun Generate(const TempFolder& folder, const std::vector<std::string>& more) {
  std::vector<std::string> args = {"generate",     "--config", MiniJob(),       "--out",
                                   folder / "out", "--set",    "sample_steps=3"};
  args.insert(args.end(), more.begin(), more.end());
  return RunWorker(args);
}

TEST(Outputs, AreAnMp4ThatDescribesItselfAPosterAndASheet) {
  const TempFolder folder;
  const WorkerRun run = Generate(folder, {});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string stem = std::string("out/") + kStem + "103_0";
  EXPECT_THAT(folder.Files(), ElementsAre(stem + ".mp4", stem + ".png", stem + "_sheet.png"));

  const absl::StatusOr<std::string> text = Probe(folder / (stem + ".mp4"));
  ASSERT_TRUE(text.ok()) << text.status();
  const nlohmann::json probe = nlohmann::json::parse(*text);
  ASSERT_EQ(probe["streams"].size(), 2u);
  const nlohmann::json& video = probe["streams"][0];
  EXPECT_EQ(video["codec_name"], "h264");
  EXPECT_EQ(video["width"], 96);
  EXPECT_EQ(video["height"], 96);
  EXPECT_EQ(video["pix_fmt"], "yuv420p");
  EXPECT_EQ(video["avg_frame_rate"], "24/1");
  EXPECT_EQ(video["nb_frames"], "25");
  const nlohmann::json& audio = probe["streams"][1];
  EXPECT_EQ(audio["codec_name"], "aac");
  EXPECT_NEAR(std::stod(audio["duration"].get<std::string>()), 16384.0 / 16000, 0.05);
  const nlohmann::json& tags = probe["format"]["tags"];
  EXPECT_EQ(tags["model"], "mini_96x96_1s");
  EXPECT_EQ(tags["seed"], "103");
  EXPECT_EQ(tags["steps"], "3");
  EXPECT_EQ(tags["mode"], "t2v");
  EXPECT_EQ(tags["version"], OVI_VERSION);
  EXPECT_EQ(tags["title"], "A red circle moves right across a black background. Audio: a low steady tone.");

  const absl::StatusOr<Image> poster = LoadImage(folder / (stem + ".png"));
  ASSERT_TRUE(poster.ok()) << poster.status();
  EXPECT_EQ(poster->height, 96);
  EXPECT_EQ(poster->width, 96);
  const absl::StatusOr<Image> sheet = LoadImage(folder / (stem + "_sheet.png"));
  ASSERT_TRUE(sheet.ok()) << sheet.status();
  EXPECT_GE(sheet->width, 4 * 96);
  EXPECT_GE(sheet->height, 2 * 96);
}

std::vector<float> FinalLatent(const TempFolder& folder, const std::string& seed) {
  const std::string dump = folder / "dump.safetensors";
  const WorkerRun run = Generate(folder, {"--dump", dump, "--set", "seed=" + seed});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const absl::StatusOr<std::unique_ptr<WeightSource>> source = OpenWeights(dump);
  if (!source.ok()) return {};
  const absl::StatusOr<HostTensor> latent = (*source)->Find("final_video_latent");
  return latent.ok() ? ToFloats(*latent) : std::vector<float>{};
}

TEST(Outputs, AreTheSameForTheSameSeedAndOthersForAnother) {
  const TempFolder folder;
  const std::vector<float> latent = FinalLatent(folder, "7");
  ASSERT_EQ(latent.size(), 48u * 7 * 6 * 6);
  EXPECT_EQ(FinalLatent(folder, "7"), latent);
  EXPECT_NE(FinalLatent(folder, "8"), latent);
}

TEST(Outputs, CountTheSeedUpForRepeats) {
  const TempFolder folder;
  const WorkerRun run = Generate(folder, {"--set", "each_example_n_times=2"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string stem = std::string("out/") + kStem;
  EXPECT_THAT(folder.Files(".mp4"), ElementsAre(stem + "103_0.mp4", stem + "104_0.mp4"));
  for (const char* seed : {"103", "104"}) {
    const absl::StatusOr<std::string> probe = Probe(folder / (stem + seed + "_0.mp4"));
    ASSERT_TRUE(probe.ok()) << probe.status();
    EXPECT_EQ(nlohmann::json::parse(*probe)["format"]["tags"]["seed"], seed);
  }
}

TEST(Outputs, OfTheSameNameAreNumbered) {
  const TempFolder folder;
  // The name keeps the first 50 characters of a prompt: these differ after them.
  folder.Write("prompts.csv",
               "text_prompt\n"
               "A red circle moves right across a black background. Audio: silence.\n"
               "A red circle moves right across a black background. Audio: short beeps.\n");
  const std::string job = folder.Write("job.yaml", "model_name: mini-ovi\ntext_prompt: prompts.csv\n");
  const WorkerRun run =
      RunWorker({"generate", "--config", job, "--out", folder / "out", "--set", "sample_steps=1"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string stem = std::string("out/") + kStem;
  EXPECT_THAT(folder.Files(".mp4"), ElementsAre(stem + "103_0.mp4", stem + "103_0_2.mp4"));
}

}  // namespace
}  // namespace ovi
