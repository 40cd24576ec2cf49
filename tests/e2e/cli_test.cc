// What people and scripts rely on besides the clip: help, version, JSON lines, the bar, Ctrl-C, inspect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/subprocess.h"
#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

constexpr const char* kWeights = "/Ovi/model_96x96_1s.safetensors";

TEST(Cli, TellsItsVersion) {
  const WorkerRun run = RunWorker({"--version"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out, MatchesRegex("ovi-worker [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(Cli, ExplainsItself) {
  const std::vector<std::string> commands[] = {
      {"--help"}, {"generate", "--help"}, {"inspect", "--help"}, {"convert", "--help"}};
  for (const std::vector<std::string>& args : commands) {
    const WorkerRun run = RunWorker(args);
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_THAT(run.out, HasSubstr("Usage:"));
    EXPECT_THAT(run.err, IsEmpty());
  }
}

TEST(Cli, SpeaksJsonLinesThatEndWithTheResult) {
  const TempFolder folder;
  const WorkerRun run = RunWorker({"generate", "--config", MiniJob(), "--out", folder / "out", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, IsEmpty());
  std::vector<nlohmann::json> events;
  for (const std::string& line : Lines(run.out)) {
    events.push_back(nlohmann::json::parse(line, nullptr, false));
    ASSERT_FALSE(events.back().is_discarded()) << line;
  }
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.front()["event"], "clip");
  EXPECT_EQ(events.front()["frames"], 25);
  EXPECT_EQ(events.back()["event"], "result");
  EXPECT_EQ(events.back()["stages"].size(), 3u);
  for (std::size_t i = 1; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i]["event"], "progress");
    EXPECT_LE(events[i]["step"], events[i]["steps"]);
  }
}

TEST(Cli, SpeaksJsonWhenItFails) {
  const TempFolder folder;
  const WorkerRun run =
      RunWorker({"generate", "--config", folder / "nowhere.yaml", "--out", folder / "out", "--json"});
  EXPECT_EQ(run.exit_code, 2);
  const nlohmann::json event = nlohmann::json::parse(run.out, nullptr, false);
  EXPECT_EQ(event.value("event", ""), "error");
  EXPECT_THAT(event.value("message", ""), HasSubstr("nowhere.yaml"));
  EXPECT_EQ(Lines(run.err).size(), 1u);
}

TEST(Cli, DrawsABarOnATerminalOnly) {
  const TempFolder folder;
  const std::string log = folder / "terminal";
  std::string command;
  for (const std::string& word :
       WorkerArgv({"generate", "--config", MiniJob(), "--out", folder / "out", "--set", "sample_steps=2"})) {
    command += "'" + word + "' ";
  }
  const absl::StatusOr<CapturedRun> run = RunAndCapture({"script", "-qec", command, "/dev/null"});
  if (absl::IsNotFound(run.status())) GTEST_SKIP() << "no pseudo-terminal: " << run.status();
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_TRUE(run->exit.ok()) << run->stdout_text;
  EXPECT_THAT(run->stdout_text, HasSubstr("\r\x1b[Kdenoise [###############...............] 1/2 "));
  EXPECT_THAT(run->stdout_text, HasSubstr("[##############################] 2/2 "));

  const WorkerRun piped =
      RunWorker({"generate", "--config", MiniJob(), "--out", folder / "out", "--set", "sample_steps=2"});
  ASSERT_EQ(piped.exit_code, 0);
  EXPECT_THAT(piped.out, HasSubstr("\ndenoise 1/2 "));
  EXPECT_THAT(piped.out, Not(HasSubstr("\x1b")));
}

// Reads from `fd` until `text` has appeared; "" at the end of the stream.
std::string ReadUntil(int fd, const std::string& text) {
  std::string all;
  char buffer[512];
  for (ssize_t count; (count = ::read(fd, buffer, sizeof(buffer))) > 0;) {
    all.append(buffer, static_cast<std::size_t>(count));
    if (all.find(text) != std::string::npos) return all;
  }
  return "";
}

TEST(Cli, StopsOnASignalWithinAStepAndLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const TempFolder folder;
    // A thousand steps: far more than the signal may take to be heard.
    absl::StatusOr<std::unique_ptr<Subprocess>> worker =
        Subprocess::Start(WorkerArgv({"generate", "--config", MiniJob(), "--out", folder / "out", "--set",
                                      "sample_steps=1000"}),
                          {.stdout_stream = StandardStream::kPipe});
    ASSERT_TRUE(worker.ok()) << worker.status();
    ASSERT_NE(ReadUntil((*worker)->stdout_fd(), "denoise 2/1000"), "");
    const auto begin = std::chrono::steady_clock::now();
    (*worker)->Kill(signal);
    const ExitStatus exit = (*worker)->Wait();
    EXPECT_EQ(exit.code, 130) << exit.ToString();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    EXPECT_EQ((*worker)->stderr_tail(), "ovi-worker: interrupted; 0 of 1 video finished\n");
    EXPECT_THAT(folder.Files(), IsEmpty());
  }
}

TEST(Cli, ListsTheTensorsOfAFile) {
  const WorkerRun text = RunWorker({"inspect", MiniModel() + kWeights});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("video_model.patch_embedding.weight"));
  EXPECT_THAT(text.out, HasSubstr("BF16"));

  const WorkerRun json = RunWorker({"inspect", "--json", MiniModel() + kWeights});
  ASSERT_EQ(json.exit_code, 0) << json.err;
  const nlohmann::json table = nlohmann::json::parse(json.out, nullptr, false);
  ASSERT_FALSE(table.is_discarded());
  EXPECT_THAT(table["path"].get<std::string>(), EndsWith(kWeights));
  EXPECT_EQ(table["tensors"].size(), table["tensor_count"]);
  EXPECT_GT(table["tensor_count"], 400);
}

TEST(Cli, RefusesToInspectWhatHasNoTensors) {
  for (const std::string& path : {std::string("/nowhere.pth"), MiniModel(), MiniJob()}) {
    const WorkerRun run = RunWorker({"inspect", path});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_THAT(run.out, IsEmpty());
    EXPECT_THAT(run.err, StartsWith("ovi-worker: " + path));
    EXPECT_EQ(Lines(run.err).size(), 1u) << run.err;
  }
}

}  // namespace
}  // namespace ovi
