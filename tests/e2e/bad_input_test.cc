// Everything a user can get wrong: one line that names it, the right exit code, nothing left behind.
//
// Exit code 2: known before the work begins (options, job, model files, image, folder, ffmpeg). 1: failed at
// work.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/worker_process.h"
#include "tests/mount.h"
#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

using Args = std::vector<std::string>;

// A valid job with one line more.
std::string Job(const TempFolder& folder, const std::string& line) {
  return folder.Write("job.yaml", absl::StrCat("model_name: mini-ovi\n", line, "\n"));
}

Args With(const TempFolder& folder, const std::string& line) {
  return {"generate", "--config", Job(folder, line), "--out", folder / "out"};
}

Args Good(const TempFolder& folder, const Args& more) {
  Args args = {"generate", "--config", MiniJob(), "--out", folder / "out"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

constexpr const char* kFusion = "Ovi/model_96x96_1s.safetensors";
constexpr const char* kVideoVae = "Wan2.2-TI2V-5B/Wan2.2_VAE.safetensors";
constexpr const char* kVocoder = "MMAudio/ext_weights/best_netG.safetensors";

// `file` of a copy of the model is replaced by `bytes`, or removed.
Args BrokenModel(const TempFolder& folder, const std::string& file,
                 const std::function<void(const std::string& path)>& put) {
  LinkModel(folder / "model");
  fs::remove(folder / "model/" + file);
  put(folder / ("model/" + file));
  return Good(folder, {"--model", folder / "model"});
}

// A PNG that ends after its header chunk, which is where its size is judged.
std::string PngHeader(std::uint32_t width, std::uint32_t height) {
  std::string chunk = "IHDR";
  for (const std::uint32_t side : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) chunk.push_back(static_cast<char>(side >> shift & 0xff));
  }
  chunk += std::string("\x08\x02\x00\x00\x00", 5);
  std::uint32_t crc = 0xffffffffu;
  for (const char c : chunk) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1u) != 0 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
  }
  crc = ~crc;
  std::string png("\x89PNG\r\n\x1a\n\0\0\0\x0d", 12);
  png += chunk;
  for (int shift = 24; shift >= 0; shift -= 8) png.push_back(static_cast<char>(crc >> shift & 0xff));
  return png;
}

Args WithImage(const TempFolder& folder, const std::string& bytes) {
  folder.Write("first.png", bytes);
  return With(folder, "mode: i2v\nimage_path: first.png\ntext_prompt: a cat");
}

struct BadInput {
  const char* name;
  int exit_code;
  std::vector<std::string> says;  // each a part of the one line
  std::function<Args(const TempFolder&)> args;
  Environment environment = {};
};

std::vector<BadInput> BadInputs() {
  return {
      {"NoSubcommand", 2, {"subcommand", "--help"}, [](const TempFolder&) { return Args{}; }},
      {"UnknownSubcommand", 2, {"genrate"}, [](const TempFolder&) { return Args{"genrate"}; }},
      {"NoConfig", 2, {"--config", "--help"}, [](const TempFolder&) { return Args{"generate"}; }},
      {"UnknownFlag", 2, {"--fast"}, [](const TempFolder& f) { return Good(f, {"--fast"}); }},
      {"TextAsThreads",
       2,
       {"--threads", "many"},
       [](const TempFolder& f) {
         return Good(f, {"--threads", "many"});
       }},
      {"NoThreads",
       2,
       {"--threads", "0"},
       [](const TempFolder& f) {
         return Good(f, {"--threads", "0"});
       }},
      {"TextAsMemory",
       2,
       {"--max-vram", "lots"},
       [](const TempFolder& f) {
         return Good(f, {"--max-memory", "lots"});
       }},
      {"NegativeMemory",
       2,
       {"--max-vram", "must be bytes from 1 MiB"},
       [](const TempFolder& f) { return Good(f, {"--max-memory=-1"}); }},
      {"MissingConfig",
       2,
       {"nowhere.yaml"},
       [](const TempFolder& f) {
         return Args{"generate", "--config", f / "nowhere.yaml", "--out", f / "out"};
       }},
      {"ConfigIsAFolder",
       2,
       {"configs/jobs", "folder"},
       [](const TempFolder& f) {
         return Args{"generate", "--config", OVI_SOURCE_DIR "/configs/jobs", "--out", f / "out"};
       }},
      {"UnknownKey",
       2,
       {"job.yaml:2", "sampel_steps", "sample_steps"},
       [](const TempFolder& f) { return With(f, "sampel_steps: 4\ntext_prompt: a cat"); }},
      {"NoPrompt", 2, {"text_prompt"}, [](const TempFolder& f) { return With(f, "seed: 1"); }},
      {"EmptyPrompt", 2, {"text_prompt"}, [](const TempFolder& f) { return With(f, "text_prompt: ''"); }},
      {"HugePrompt",
       2,
       {"job.yaml"},
       [](const TempFolder& f) { return With(f, "text_prompt: " + std::string(2 << 20, 'a')); }},
      {"LongPrompt",
       2,
       {"job.yaml:2", "text_prompt", "65536"},
       [](const TempFolder& f) { return With(f, "text_prompt: " + std::string(70'000, 'a')); }},
      {"PromptIsNotUtf8",
       2,
       {"UTF-8"},
       [](const TempFolder& f) { return With(f, "text_prompt: \"caf\xe9\""); }},
      {"NegativeSteps",
       2,
       {"sample_steps", "-1"},
       [](const TempFolder& f) {
         return Good(f, {"--set", "sample_steps=-1"});
       }},
      {"GuidanceIsNotANumber",
       2,
       {"video_guidance_scale", ".nan"},
       [](const TempFolder& f) {
         return Good(f, {"--set", "video_guidance_scale=.nan"});
       }},
      {"SetWithoutValue",
       2,
       {"--set", "seed", "key=value"},
       [](const TempFolder& f) {
         return Good(f, {"--set", "seed"});
       }},
      {"SetOfAnUnknownKey",
       2,
       {"--set", "sede", "seed"},
       [](const TempFolder& f) {
         return Good(f, {"--set", "sede=1"});
       }},
      {"OtherDuration",
       2,
       {"duration", "10"},
       [](const TempFolder& f) {
         return Good(f, {"--set", "duration=10"});
       }},
      {"UnknownModel",
       2,
       {"model_name", "maxi-ovi"},
       [](const TempFolder& f) {
         return Good(f, {"--set", "model_name=maxi-ovi"});
       }},
      {"ModelFolderIsMissing",
       2,
       {"nowhere"},
       [](const TempFolder& f) {
         return Good(f, {"--model", f / "nowhere"});
       }},
      {"WeightsAreMissing",
       2,
       {kFusion, "missing"},
       [](const TempFolder& f) { return BrokenModel(f, kFusion, [](const std::string&) {}); }},
      {"WeightsAreTruncated",
       2,
       {kVideoVae},
       [](const TempFolder& f) {
         return BrokenModel(f, kVideoVae, [](const std::string& path) {
           fs::copy_file(MiniModel() + "/" + kVideoVae, path);
           fs::resize_file(path, fs::file_size(path) - 100'000);
         });
       }},
      {"WeightsAreEmpty",
       2,
       {kVocoder, "empty"},
       [](const TempFolder& f) {
         return BrokenModel(f, kVocoder, [](const std::string& path) { std::ofstream file(path); });
       }},
      {"WeightsAreAFolder",
       2,
       {kFusion, "not a regular file"},
       [](const TempFolder& f) {
         return BrokenModel(f, kFusion, [](const std::string& path) { fs::create_directory(path); });
       }},
      {"WeightsAreAnotherNetworks",
       2,
       {kFusion, "missing"},
       [](const TempFolder& f) {
         return BrokenModel(
             f, kFusion, [](const std::string& path) { fs::copy_file(MiniModel() + "/" + kVideoVae, path); });
       }},
      {"WeightsAreText",
       2,
       {kVideoVae},
       [](const TempFolder& f) {
         return BrokenModel(f, kVideoVae,
                            [](const std::string& path) { std::ofstream(path) << "<html>404</html>"; });
       }},
      {"ModelSpecIsNotJson",
       2,
       {"model_spec.json"},
       [](const TempFolder& f) {
         return BrokenModel(f, "model_spec.json",
                            [](const std::string& path) { std::ofstream(path) << "{"; });
       }},
      {"MissingImage",
       2,
       {"nowhere.png"},
       [](const TempFolder& f) { return With(f, "mode: i2v\nimage_path: nowhere.png\ntext_prompt: a cat"); }},
      {"ImageIsText",
       2,
       {"first.png", "PNG"},
       [](const TempFolder& f) { return WithImage(f, "a picture of a cat"); }},
      {"ImageWithoutPixels",
       2,
       {"first.png"},
       [](const TempFolder& f) { return WithImage(f, PngHeader(0, 96)); }},
      {"ImageOfOneLine",
       2,
       {"first.png", "100000x1"},
       [](const TempFolder& f) { return WithImage(f, PngHeader(100'000, 1)); }},
      {"ImageIsTruncated",
       2,
       {"first.png"},
       [](const TempFolder& f) { return WithImage(f, PngHeader(96, 96)); }},
      {"OutIsUnderAFile",
       2,
       {"file/out"},
       [](const TempFolder& f) {
         f.Write("file", "");
         return Args{"generate", "--config", MiniJob(), "--out", f / "file/out"};
       }},
      {"OutIsNotWritable",
       2,
       {"/proc/ovi"},
       [](const TempFolder&) {
         return Args{"generate", "--config", MiniJob(), "--out", "/proc/ovi"};
       }},
      {"NoOut",
       2,
       {"--out", "output_dir"},
       [](const TempFolder&) {
         return Args{"generate", "--config", MiniJob()};
       }},
      {"DumpIsUnderAFile",
       2,
       {"file/dump"},
       [](const TempFolder& f) {
         f.Write("file", "");
         return Good(f, {"--dump", f / "file/dump"});
       }},
      {"FfmpegIsMissing",
       2,
       {"ffmpeg", "PATH"},
       [](const TempFolder& f) { return Good(f, {}); },
       {{"PATH", "/nowhere"}}},
      {"NoiseIsCorrupt",
       2,
       {"noise.safetensors"},
       [](const TempFolder& f) {
         return Good(f, {"--noise", f.Write("noise.safetensors", "not tensors at all")});
       }},
      {"NoiseIsOfAnotherShape",
       2,
       {"video_noise", "48x7x6x6"},
       [](const TempFolder& f) {
         return Good(f, {"--noise", GoldenFile("t2v_prompt0.safetensors"), "--set", "resolution=[64, 144]"});
       }},
      {"NoiseHasNoNoise",
       2,
       {"video_noise"},
       [](const TempFolder& f) {
         return Good(f, {"--noise", MiniModel() + "/" + kVideoVae});
       }},
      {"TooLittleMemory",
       1,
       {"bytes_needed=", "bytes_max=1048576"},
       [](const TempFolder& f) {
         return Good(f, {"--max-memory", "1MiB"});
       }},
      {"InspectNothing", 2, {"FILE"}, [](const TempFolder&) { return Args{"inspect"}; }},
      {"InspectAMissingFile",
       1,
       {"nowhere.pth"},
       [](const TempFolder& f) {
         return Args{"inspect", f / "nowhere.pth"};
       }},
      {"InspectAFolder",
       1,
       {"configs", "folder"},
       [](const TempFolder&) {
         return Args{"inspect", OVI_SOURCE_DIR "/configs"};
       }},
      {"NewlinesInAName",
       2,
       {"no where.yaml"},
       [](const TempFolder& f) {
         return Args{"generate", "--config", f / "no\nwhere.yaml", "--out", f / "out"};
       }},
  };
}

void ExpectOneLine(const WorkerRun& run, const BadInput& bad) {
  EXPECT_EQ(run.exit_code, bad.exit_code) << run.err;
  EXPECT_EQ(Lines(run.err).size(), 1u) << run.err;
  EXPECT_TRUE(absl::StartsWith(run.err, "ovi-worker: ")) << run.err;
  EXPECT_LT(run.err.size(), 500u) << run.err;
  for (const std::string& part : bad.says)
    EXPECT_TRUE(absl::StrContains(run.err, part)) << part << " in " << run.err;
}

void ExpectNothingLeft(const TempFolder& folder) {
  EXPECT_TRUE(folder.Files(".mp4").empty());
  EXPECT_TRUE(folder.Files(".part").empty());
}

class BadInputTest : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputTest, IsRefusedInOneLineThatNamesIt) {
  const TempFolder folder;
  const WorkerRun run = RunWorker(GetParam().args(folder), GetParam().environment);
  ExpectOneLine(run, GetParam());
  ExpectNothingLeft(folder);
}

INSTANTIATE_TEST_SUITE_P(Worker, BadInputTest, testing::ValuesIn(BadInputs()),
                         [](const testing::TestParamInfo<BadInput>& row) { return row.param.name; });

TEST(FullDisk, FailsInOneLineAndLeavesNothing) {
  const TempFolder folder;
  const Mount disk(folder / "out", 0, "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small disk: " << disk.reason();
  const WorkerRun run = RunWorker(Good(folder, {}));
  ExpectOneLine(run, {.name = "FullDisk", .exit_code = 1, .says = {"out/", "No space left on device"}});
  EXPECT_TRUE(folder.Files().empty());
}

TEST(ReadOnlyDisk, IsNoticedBeforeTheWorkBegins) {
  const TempFolder folder;
  const Mount disk(folder / "out", MS_RDONLY, "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a read-only disk: " << disk.reason();
  const WorkerRun run = RunWorker(Good(folder, {}));
  ExpectOneLine(run, {.name = "ReadOnlyDisk", .exit_code = 2, .says = {"out", "Read-only file system"}});
}

}  // namespace
}  // namespace ovi
