// `ovi-worker convert`: the file it writes serves as the model's own, it can be interrupted, and it says what
// is wrong like the other commands.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <cmath>
#include <csignal>
#include <filesystem>

#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_model.h"
#include "worker/weights/convert.h"
#include "worker/weights/open_weights.h"
#include "worker/weights/quantised_cache.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;

constexpr const char* kWeights = "Ovi/model_96x96_1s.safetensors";

std::vector<float> Values(const std::string& path, const std::string& name) {
  const absl::StatusOr<std::unique_ptr<WeightSource>> source = OpenWeights(path);
  EXPECT_TRUE(source.ok()) << source.status();
  if (!source.ok()) return {};
  const absl::StatusOr<HostTensor> tensor = (*source)->Find(name);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return tensor.ok() ? ToFloats(*tensor) : std::vector<float>{};
}

// ||a - b|| / ||b||.
double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

// The first step's video velocity of mini-ovi with this model folder.
std::vector<float> Velocity(const std::string& model, const TempFolder& folder) {
  const WorkerRun run = RunWorker({"generate", "--config", MiniJob(), "--model", model, "--out",
                                   folder / "out", "--dump", folder / "dump", "--set", "sample_steps=1"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  return run.exit_code == 0 ? Values(folder / "dump", "step0_video_pos") : std::vector<float>{};
}

// Measured: 0.021 in int8, and 0.050 in fp8, whose 3 bits of mantissa are coarser wherever a row has no
// outlier; 0.136 in the low-rank form, which is expanded where nobody asks for its own form.
TEST(ConvertCli, TheFileServesAsTheModelsOwn) {
  const TempFolder folder;
  const std::vector<float> expected = Velocity(MiniModel(), folder);
  for (const auto& [format, error_max] :
       {std::pair{"int8", 0.04}, std::pair{"fp8", 0.1}, std::pair{"low_rank", 0.2}}) {
    SCOPED_TRACE(format);
    const std::string model = folder / format;
    LinkModel(model);
    const std::string weights = model + "/" + kWeights;
    fs::remove(weights);  // a link to the shipped file
    const WorkerRun run =
        RunWorker({"convert", "--model", MiniModel(), "--format", format, "--out", weights});
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_THAT(run.err, IsEmpty());
    EXPECT_EQ(Lines(run.out).back(), weights);
    EXPECT_THAT(run.out, testing::ContainsRegex("\nconvert [5-7]\\.[0-9] MiB of [5-7]\\.[0-9] MiB\n"));
    EXPECT_LT(RelativeError(Velocity(model, folder), expected), error_max);
  }
}

TEST(ConvertCli, KeepsTheFileInTheCacheFolder) {
  const TempFolder folder;
  const Environment environment = {{"OVI_CACHE_DIR", folder / "cache"}};
  const std::vector<std::string> args = {"convert", "--model", "mini-ovi", "--format", "int8"};
  const WorkerRun first = RunWorker(args, environment);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  ASSERT_THAT(folder.Files(), ElementsAre(MatchesRegex("cache/int8-[0-9a-f]+\\.safetensors")));
  EXPECT_EQ(Lines(first.out).back(), folder / folder.Files()[0]);
  const WorkerRun second = RunWorker(args, environment);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_THAT(Lines(second.out), ElementsAre("there already", folder / folder.Files()[0]));
}

TEST(ConvertCli, TwoProcessesMakeOneFile) {
  const TempFolder folder;
  const std::vector<std::string> argv = WorkerArgv({"convert", "--model", "mini-ovi", "--format", "fp8"},
                                                   {{"OVI_CACHE_DIR", folder / "cache"}});
  auto one = Subprocess::Start(argv, {});
  auto other = Subprocess::Start(argv, {});
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_TRUE((*one)->Wait().ok()) << (*one)->stderr_tail();
  EXPECT_TRUE((*other)->Wait().ok()) << (*other)->stderr_tail();
  EXPECT_THAT(folder.Files(), ElementsAre(MatchesRegex("cache/fp8-[0-9a-f]+\\.safetensors")));
}

// The process waits for a lock that the test holds, on a part that is half done: there it can be interrupted
// at leisure.
TEST(ConvertCli, OnASignalItKeepsThePartAndSaysHowToGoOn) {
  const TempFolder folder;
  const std::string out = folder / "out.safetensors";
  const std::vector<std::string> args = {"convert", "--model", "mini-ovi", "--format", "fp8", "--out", out};
  const auto stop_halfway = [](std::int64_t done, std::int64_t total) {
    return done > total / 2 ? absl::CancelledError("halfway") : absl::OkStatus();
  };
  ASSERT_TRUE(absl::IsCancelled(
      WriteQuantised({MiniModel() + "/" + kWeights, QuantisedFormat::kFp8}, out, stop_halfway)));
  {
    const UniqueFd part(::open((out + ".part").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::flock(part.get(), LOCK_EX | LOCK_NB), 0);
    absl::StatusOr<std::unique_ptr<Subprocess>> worker =
        Subprocess::Start(WorkerArgv(args), {.stdout_stream = StandardStream::kPipe});
    ASSERT_TRUE(worker.ok()) << worker.status();
    char first = 0;
    ASSERT_EQ(::read((*worker)->stdout_fd(), &first, 1), 1);
    (*worker)->Kill(SIGINT);
    EXPECT_EQ((*worker)->Wait().code, 130);
    EXPECT_THAT(
        (*worker)->stderr_tail(),
        MatchesRegex("ovi-worker: interrupted at 3\\.[0-9] MiB of 7\\.0 MiB; the same command goes on from "
                     "there\n"));
    EXPECT_THAT(folder.Files(), ElementsAre("out.safetensors.part"));
  }
  const WorkerRun run = RunWorker(args);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(Lines(run.out).front(), MatchesRegex("convert 3\\.[0-9] MiB of 7\\.0 MiB"));
  EXPECT_THAT(folder.Files(), ElementsAre("out.safetensors"));
}

TEST(ConvertCli, WhatIsWrongIsOneLineAndCodeTwo) {
  const TempFolder folder;
  const std::string weights = MiniModel() + "/" + kWeights;
  const struct {
    const char* name;
    std::vector<std::string> args;
    const char* message;
  } rows[] = {
      {"no format", {"--model", "mini-ovi"}, "--format is required; see ovi-worker convert --help"},
      {"unknown format", {"--model", "mini-ovi", "--format", "int4"}, "int4 not in {fp8,int8,low_rank}"},
      {"a rank in the cache folder",
       {"--model", "mini-ovi", "--format", "low_rank", "--rank", "64"},
       "--rank needs --out"},
      {"a rank of fp8",
       {"--model", "mini-ovi", "--format", "fp8", "--rank", "64", "--out", folder / "x"},
       "--rank is for --format low_rank"},
      {"no rank", {"--model", "mini-ovi", "--format", "low_rank", "--rank", "0"}, "--rank: "},
      {"no model", {"--format", "fp8"}, "--model is required"},
      {"unknown model", {"--model", "nope", "--format", "fp8"}, "model \"nope\""},
      {"onto itself",
       {"--model", "mini-ovi", "--format", "fp8", "--out", weights},
       "is the file that is to be read"},
      {"no folder",
       {"--model", "mini-ovi", "--format", "fp8", "--out", folder / "none/x"},
       "none/x.part: cannot write it"},
      {"cache is a file", {"--model", "mini-ovi", "--format", "fp8"}, "cannot make this folder"},
  };
  folder.Write("file", "");
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<std::string> args = {"convert"};
    args.insert(args.end(), row.args.begin(), row.args.end());
    const WorkerRun run = RunWorker(args, {{"OVI_CACHE_DIR", folder / "file/cache"}});
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_EQ(Lines(run.err).size(), 1u) << run.err;
    EXPECT_THAT(run.err, HasSubstr(row.message));
    EXPECT_THAT(run.out, IsEmpty());
  }
}

TEST(ConvertCli, RefusesWhatIsNotTheModelsTransformer) {
  const TempFolder folder;
  LinkModel(folder / "model");
  fs::remove(folder / "model/Ovi/model_96x96_1s.safetensors");
  fs::create_symlink(MiniModel() + "/MMAudio/ext_weights/v1-16.safetensors",
                     folder / "model/Ovi/model_96x96_1s.safetensors");
  const WorkerRun run =
      RunWorker({"convert", "--model", folder / "model", "--format", "fp8", "--out", folder / "x"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("not the expected model"));
}

}  // namespace
}  // namespace ovi
