// `ovi-worker generate` against the reference runs of tests/golden/mini-ovi: same noise, same prompt.
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_model.h"
#include "worker/media/image.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"

namespace ovi {
namespace {

using Source = std::unique_ptr<WeightSource>;

Source Open(const std::string& path) {
  absl::StatusOr<Source> source = OpenWeights(path);
  EXPECT_TRUE(source.ok()) << source.status();
  return source.ok() ? *std::move(source) : nullptr;
}

std::vector<float> Values(const WeightSource& source, const std::string& name) {
  const absl::StatusOr<HostTensor> tensor = source.Find(name);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return tensor.ok() ? ToFloats(*tensor) : std::vector<float>{};
}

// ||a - b|| / ||b||; a difference in size is infinitely far.
double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || b.empty()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

// Of pictures in -1..1.
double PsnrDb(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || b.empty()) return -INFINITY;
  double sum = 0;
  for (std::size_t i = 0; i < b.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return 10 * std::log10(4 / (sum / static_cast<double>(b.size())));
}

std::string Prompt(bool image) {
  return image ? "A green circle moves left across a gray background. Audio: a mid steady tone."
               : "A red circle moves right across a black background. Audio: a low steady tone.";
}

// The golden first frame as a PNG. It is 8-bit but for the blended outline of its shape (331 of 27,648
// values), which the PNG rounds.
std::string WriteFirstFrame(const WeightSource& golden, const TempFolder& folder) {
  constexpr std::size_t kPixels = 96 * 96;
  const std::vector<float> planar = Values(golden, "image");
  EXPECT_EQ(planar.size(), 3 * kPixels);
  Image image{.height = 96, .width = 96, .rgb = std::vector<std::uint8_t>(planar.size())};
  int rounded = 0;
  for (std::size_t i = 0; i < planar.size(); ++i) {
    const float level = (planar[i] + 1.0f) / 2.0f * 255.0f;
    if (std::abs(level - std::round(level)) > 1e-3f) ++rounded;
    image.rgb[i % kPixels * 3 + i / kPixels] = static_cast<std::uint8_t>(std::lround(level));
  }
  EXPECT_LT(rounded, 400);
  std::string path = folder / "first.png";
  const absl::Status written = WritePng(path, image);
  EXPECT_TRUE(written.ok()) << written;
  return path;
}

struct Case {
  const char* file;
  bool image;
};

Source Generate(const Case& which, const std::string& precision, const WeightSource& golden,
                const TempFolder& folder) {
  const std::string job = folder.Write(
      "job.yaml", absl::StrCat("model_name: mini-ovi\ntext_prompt: \"", Prompt(which.image), "\"\n"));
  std::vector<std::string> args = {"generate",
                                   "--config",
                                   job,
                                   "--out",
                                   folder / "out",
                                   "--noise",
                                   GoldenFile(which.file),
                                   "--dump",
                                   folder / "dump.safetensors",
                                   "--set",
                                   "precision=" + precision};
  if (which.image) {
    args.insert(args.end(), {"--set", "mode=i2v", "--set", "image_path=" + WriteFirstFrame(golden, folder)});
  }
  const WorkerRun run = RunWorker(args);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  return run.exit_code == 0 ? Open(folder / "dump.safetensors") : nullptr;
}

class GenerateGolden : public testing::TestWithParam<Case> {};

TEST_P(GenerateGolden, ReproducesEveryStepInReferencePrecision) {
  const TempFolder folder;
  const Source golden = Open(GoldenFile(GetParam().file));
  ASSERT_NE(golden, nullptr);
  const Source dump = Generate(GetParam(), "reference", *golden, folder);
  ASSERT_NE(dump, nullptr);
  int compared = 0;
  for (const TensorInfo& info : golden->List()) {
    const bool latent = absl::StrContains(info.name, "_latent_");
    const bool prediction = absl::StartsWith(info.name, "step0_");
    const bool output = info.name == "video" || info.name == "audio";
    if (!latent && !prediction && !output) continue;
    const double error = RelativeError(Values(*dump, info.name), Values(*golden, info.name));
    // Measured: at most 2e-6 from text, 4e-5 from the image, most of it the PNG's rounding.
    EXPECT_LT(error, output ? 1e-3 : 1e-4) << info.name;
    ++compared;
  }
  EXPECT_EQ(compared, 12 * 2 + 4 + 2);
}

TEST_P(GenerateGolden, LooksTheSameAsExecuted) {
  const TempFolder folder;
  const Source golden = Open(GoldenFile(GetParam().file));
  ASSERT_NE(golden, nullptr);
  const Source dump = Generate(GetParam(), "as_executed", *golden, folder);
  ASSERT_NE(dump, nullptr);
  const double video = RelativeError(Values(*dump, "video_latent_11"), Values(*golden, "video_latent_11"));
  const double audio = RelativeError(Values(*dump, "audio_latent_11"), Values(*golden, "audio_latent_11"));
  const double psnr = PsnrDb(Values(*dump, "video"), Values(*golden, "video"));
  // Measured: video 0.015 and 0.019, audio 0.009 and 0.008, pictures 54 and 60 dB.
  EXPECT_LT(video, 0.05);
  EXPECT_LT(audio, 0.03);
  EXPECT_GT(psnr, 40.0);
}

INSTANTIATE_TEST_SUITE_P(MiniOvi, GenerateGolden,
                         testing::Values(Case{"t2v_prompt0.safetensors", false},
                                         Case{"i2v.safetensors", true}),
                         [](const testing::TestParamInfo<Case>& row) {
                           return row.param.image ? "I2v" : "T2v";
                         });

}  // namespace
}  // namespace ovi
