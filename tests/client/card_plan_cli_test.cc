// ovictl plan for a card, as users type it. There is no coordinator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/small_file.h"
#include "tests/client/ovictl_process.h"

namespace ovi::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct CardPlanTest : testing::Test {
  OvictlHome home{"127.0.0.1:1"};
  std::string mini = home.folder().Write("mini.yaml", "model_name: mini-ovi\ntext_prompt: rain\n");
};

TEST_F(CardPlanTest, SaysWhatFitsOfTheOriginalOnASmallCard) {
  const std::string job =
      home.folder().Write("job.yaml", "text_prompt: rain\nresolution: \"720x720\"\nduration: \"5s\"\n");
  const OvictlRun run = home.Run({"plan", "--config", job, "--gpu", "RTX 3060", "--json"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.err, IsEmpty());
  const nlohmann::json plan = nlohmann::json::parse(run.out);
  EXPECT_EQ(plan["model_name"], "720x720_5s");
  EXPECT_EQ(plan["gpu"]["name"], "RTX 3060 12GB");
  std::size_t recommended = 0;
  for (const nlohmann::json& row : plan["rows"]) {
    if (!row["is_recommended"]) continue;
    ++recommended;
    EXPECT_TRUE(row["fits"]);
    EXPECT_LE(row["peak_bytes"].get<std::int64_t>(), (std::int64_t{12} << 30) - (std::int64_t{600} << 20));
    EXPECT_EQ(row["gpu_allocation"], "single");
    EXPECT_GT(row["predicted_seconds"]["total"].get<double>(), 60);
  }
  EXPECT_EQ(recommended, 1u);
}

TEST_F(CardPlanTest, ShowsATableAndTheRecommendationLast) {
  const OvictlRun run = home.Run({"plan", "--config", mini, "--gpu-memory", "1GiB"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out, AllOf(StartsWith("mini_96x96_1s: 96x96 pixels, 25 frames, 12 steps of two passes\n"
                                        "a card: 1.0 GiB, of which a job may take 424.0 MiB"),
                             HasSubstr("\nMODE         GPUS    ENCODE"), HasSubstr("\nultra_low    single"),
                             HasSubstr("\nrecommended: standard on single: nothing is quantised")));
  EXPECT_THAT(run.err, IsEmpty());
  const OvictlRun all = home.Run({"plan", "--config", mini, "--gpu-memory", "1GiB", "--all"});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_THAT(all.out, AllOf(HasSubstr("\nstandard     fsdp_8"), HasSubstr("\nultra_low    multi_4")));
}

// 605 MiB, of which the driver takes 600.
TEST_F(CardPlanTest, FailsWhenTheJobDoesNotFit) {
  const OvictlRun run = home.Run(
      {"plan", "--config", mini, "--set", "vram_mode=fp8", "--gpu-memory", "605MiB", "--gpu", "3090"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.out, HasSubstr("\nnothing fits; the least is "));
  EXPECT_THAT(run.err, AllOf(StartsWith("ovictl: the job does not fit: fp8 on single needs "),
                             HasSubstr(" of 5.0 MiB on each GPU\n")));
}

TEST_F(CardPlanTest, KeepsToTheJobsOwnLimit) {
  const OvictlRun run = home.Run(
      {"plan", "--config", mini, "--set", "vram_mode=fp8", "--max-vram", "5MiB", "--gpu-memory", "1GiB"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.out, HasSubstr("\na card: 1.0 GiB, of which this job may take 5.0 MiB: its max_vram\n"));
  EXPECT_THAT(run.err, HasSubstr(" of 5.0 MiB on each GPU\n"));
}

TEST_F(CardPlanTest, DrawsIntoAFile) {
  const std::string path = home.folder() / "plan.svg";
  EXPECT_EQ(home.Run({"plan", "--config", mini, "--gpu", "4090", "--svg", path}).exit_code, 0);
  const absl::StatusOr<std::string> svg = ReadSmallFile(path, 1 << 20);
  ASSERT_TRUE(svg.ok()) << svg.status();
  EXPECT_THAT(*svg, HasSubstr("mini_96x96_1s on RTX 4090"));
}

TEST_F(CardPlanTest, RefusesWhatItCannotPlan) {
  const struct {
    std::vector<std::string> args;
    const char* error;
  } rows[] = {
      {{"--config", mini, "--gpu", "a100"},
       "ovictl: --gpu: \"a100\" may be one of several cards: A100 40GB, A100 80GB\n"},
      {{"--config", mini, "--gpu", "3070 ti"},
       "ovictl: --gpu: no card called \"3070 ti\" is known; these come near: "},
      {{"--config", mini, "--gpu-memory", "12 apples"}, "--gpu-memory"},
      {{"--config", mini, "--gpu-memory", "0"}, "--gpu-memory: must be bytes from 1 MiB to 1024 TiB"},
      {{"--config", mini, "--all"}, "ovictl: --all: is about a card; give --gpu or --gpu-memory\n"},
      {{"--config", mini, "--svg", "x.svg"}, "ovictl: --svg: is about a card; give --gpu or --gpu-memory\n"},
      {{"rain", "--model", "nothing", "--gpu", "3090"}, "nothing/model_spec.json"},
      {{"--config", mini, "--set", "gpu_allocation=multi_7", "--gpu", "3090"}, "gpu_allocation"},
  };
  for (const auto& row : rows) {
    std::vector<std::string> args = {"plan"};
    args.insert(args.end(), row.args.begin(), row.args.end());
    const OvictlRun run = home.Run(args);
    EXPECT_EQ(run.exit_code, 2) << row.error;
    EXPECT_THAT(run.err, HasSubstr(row.error));
    EXPECT_THAT(run.out, IsEmpty());
  }
  home.Set("OVI_GPUS_FILE", home.folder().Write("gpus.yaml", "gpus:\n- {name: X}\n"));
  const OvictlRun run = home.Run({"plan", "--config", mini, "--gpu", "x"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("gpus.yaml:2: a card without memory_mib\n"));
}

}  // namespace
}  // namespace ovi::client
