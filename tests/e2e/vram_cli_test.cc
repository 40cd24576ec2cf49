// The vram modes as a user of `generate` meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/worker_process.h"
#include "tests/pipeline/mini_model.h"

namespace ovi {
namespace {

using testing::HasSubstr;

struct Outcome {
  WorkerRun run;
  nlohmann::json clip, result;  // the events; null where there was none
};

// One short clip.
Outcome Generate(const TempFolder& folder, const std::string& mode,
                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> args = {"generate", "--config", MiniJob(),        "--out", folder / "out",
                                   "--json",   "--set",    "sample_steps=2", "--set", "vram_mode=" + mode};
  args.insert(args.end(), more.begin(), more.end());
  Outcome outcome;
  outcome.run = RunWorker(args);
  for (const std::string& line : Lines(outcome.run.out)) {
    const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
    if (event.value("event", "") == "clip") outcome.clip = event;
    if (event.value("event", "") == "result") outcome.result = event;
  }
  return outcome;
}

TEST(VramModes, EachTakesNoMoreThanItPlanned) {
  const TempFolder folder;
  for (const char* mode : {"standard", "fp8", "fp8_offload", "ultra_low"}) {
    SCOPED_TRACE(mode);
    const Outcome outcome = Generate(folder, mode);
    ASSERT_EQ(outcome.run.exit_code, 0) << outcome.run.err;
    EXPECT_EQ(outcome.clip["vram_mode"], mode);
    ASSERT_EQ(outcome.result["stages"].size(), 3u);
    std::int64_t largest = 0;
    for (const nlohmann::json& stage : outcome.result["stages"]) {
      const auto planned = stage["arena_bytes_planned"].get<std::int64_t>();
      EXPECT_LE(stage["arena_bytes_peak"].get<std::int64_t>(), planned) << stage;
      largest = std::max(largest, planned);
      // Only encoding depends on how long the prompt is.
      if (stage["stage"] == "encode") continue;
      EXPECT_EQ(stage["arena_bytes_peak"], planned) << stage;
    }
    EXPECT_EQ(outcome.clip["bytes_planned"], largest);
  }
}

TEST(VramModes, ALimitIsKeptOrRefusedBeforeTheWork) {
  const TempFolder folder;
  const Outcome refused = Generate(folder, "standard", {"--max-vram", "4MiB"});
  EXPECT_EQ(refused.run.exit_code, 1);
  EXPECT_TRUE(refused.clip.is_null()) << "before anything is computed";
  EXPECT_THAT(refused.run.err, HasSubstr("vram_mode standard takes"));
  EXPECT_THAT(refused.run.err, HasSubstr("of which 4.0 MiB are there"));
  EXPECT_THAT(refused.run.err, HasSubstr("--max-vram set this limit"));

  // Auto finds a way, and says which.
  const auto least = Generate(folder, "ultra_low").clip["bytes_planned"].get<std::int64_t>();
  const Outcome squeezed = Generate(folder, "auto", {"--max-vram", std::to_string(least)});
  ASSERT_EQ(squeezed.run.exit_code, 0) << squeezed.run.err;
  EXPECT_LE(squeezed.clip["bytes_planned"], least);
  EXPECT_EQ(Generate(folder, "auto").clip["vram_mode"], "standard");

  // The job may set it too; the command line wins.
  const Outcome by_job = Generate(folder, "standard", {"--set", "max_vram=4MiB"});
  EXPECT_EQ(by_job.run.exit_code, 1);
  EXPECT_THAT(by_job.run.err, HasSubstr("of which 4.0 MiB are there"));
  EXPECT_THAT(by_job.run.err, HasSubstr("the job's max_vram set this limit"));
  EXPECT_EQ(Generate(folder, "standard", {"--set", "max_vram=4MiB", "--max-vram", "1GiB"}).clip["vram_mode"],
            "standard");
}

TEST(VramModes, QuantisedModesContradictTheReference) {
  const TempFolder folder;
  const Outcome outcome = Generate(folder, "fp8", {"--set", "precision=reference"});
  EXPECT_EQ(outcome.run.exit_code, 2);
  EXPECT_THAT(outcome.run.err, HasSubstr("vram_mode: fp8 keeps weights in 8 bits"));
}

}  // namespace
}  // namespace ovi
