// A card's plan as text, JSON and drawing.
#include "client/ovictl/card_plan_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "base/format.h"

namespace ovi::client {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

StageNeed Need(Stage stage, std::int64_t weights, std::int64_t buffers, std::int64_t activations) {
  StageNeed need{.stage = stage, .bytes = weights + buffers + activations};
  need.by_use[static_cast<std::size_t>(MemoryUse::kWeights)] = weights;
  need.by_use[static_cast<std::size_t>(MemoryUse::kWeightBuffers)] = buffers;
  need.by_use[static_cast<std::size_t>(MemoryUse::kActivations)] = activations;
  return need;
}

PlanRow RowOf(VramMode mode, std::int64_t weights, std::int64_t buffers) {
  PlanRow row{.vram_mode = mode, .gpus = {GpuAllocation::kSingle, 1}};
  row.plan.stages = {Need(Stage::kEncode, kGiB / 2, 0, 0), Need(Stage::kDenoise, weights, buffers, kGiB),
                     Need(Stage::kDecode, kGiB, 0, 3 * kGiB)};
  row.plan.bytes_peak = std::max(weights + buffers + kGiB, 4 * kGiB);
  row.bytes_needed = row.plan.bytes_peak;
  return row;
}

CardPlan TwoRows() {
  CardPlan plan{.model = "960x960_10s & more", .frames = 241};
  plan.clip.size = {.height = 704, .width = 1280};
  plan.clip.steps = 50;
  plan.clip.video_guidance_scale = 4;
  plan.gpu = GpuModel{.name = "RTX 4070 Ti Super", .bytes = 10 * kGiB, .bf16_flops = 1e12};
  plan.gpu_bytes = 10 * kGiB;
  plan.table.bytes_max = 10 * kGiB - kGpuDriverBytes;
  plan.table.rows = {RowOf(VramMode::kStandard, 23 * kGiB, 0),
                     RowOf(VramMode::kFp8Offload, 4 * kGiB, 2 * kGiB)};
  PlanRow& fits = plan.table.rows[1];
  fits.fits = true;
  fits.bytes_needed = 4 * kGiB;
  fits.plan.host_bytes = 7 * kGiB;
  fits.time = ClipTime{
      .encode_seconds = 1, .load_seconds = 2, .step_seconds = 12.5, .steps = 50, .decode_seconds = 60};
  plan.table.own = 0;
  plan.table.recommended = 1;
  plan.table.reason =
      "fp8_offload on single: it needs 4.0 GiB of 9.4 GiB (standard 24.0 GiB); of the modes that fit, its "
      "pictures are nearest to standard's";
  return plan;
}

TEST(CardPlanText, HasTheTableTheBarsAndTheRecommendationLast) {
  EXPECT_EQ(
      CardPlanText(TwoRows(), {}),
      "960x960_10s & more: 1280x704 pixels, 241 frames, 50 steps of two passes\n"
      "RTX 4070 Ti Super: 10.0 GiB, of which a job may take 9.4 GiB: 600.0 MiB go to driver and CUDA (and\n"
      "more to a desktop)\n"
      "\n"
      "MODE         GPUS    ENCODE  DENOISE  DECODE  NEEDS  FITS  HOST    STEP   TIME\n"
      "standard     single     0.5     24.0     4.0   24.0  no     0.0                 the job\n"
      "fp8_offload  single     0.5      7.0     4.0    4.0  yes    7.0  12.5 s  11:28  best\n"
      "in GiB on each GPU; HOST: main memory for streamed weights and frames\n"
      "times are predicted from data sheets (configs/gpus.yaml), not measured\n"
      "\n"
      "memory of the GPU with fp8_offload on single, of 9.4 GiB:\n"
      "  encode  [WW......................................]   0.5 GiB: W 0.5\n"
      "  denoise [WWWWWWWWWWWWWWWWWBBBBBBBBAAAAA..........]   7.0 GiB: W 4.0, B 2.0, A 1.0\n"
      "  decode  [WWWWAAAAAAAAAAAAA.......................]   4.0 GiB: W 1.0, A 3.0\n"
      "  W weights, B buffers for streamed weights, A activations, C communication\n"
      "\n"
      "recommended: fp8_offload on single: it needs 4.0 GiB of 9.4 GiB (standard 24.0 GiB); of the modes\n"
      "that fit, its pictures are nearest to standard's\n");
}

TEST(CardPlanText, FitsAHundredColumns) {
  CardPlan plan = TwoRows();
  PlanRow& row = plan.table.rows[1];
  row.gpus = {GpuAllocation::kMulti, 8};
  row.time->step_seconds = 1234.5;
  plan.table.own = 1;
  const std::string text = CardPlanText(plan, {});
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    EXPECT_LE(DisplayWidth(std::string(line)), 100) << line;
  }
}

TEST(CardPlanText, ShowsTheJobsOwnRowWhereNothingFits) {
  CardPlan plan = TwoRows();
  plan.table.rows.resize(1);
  plan.table.recommended.reset();
  plan.gpu.reset();
  plan.table.reason = "nothing fits; the least is standard on single, 24.0 GiB of 9.4 GiB";
  const std::string text = CardPlanText(plan, {});
  EXPECT_THAT(text, HasSubstr("a card: 10.0 GiB, of which"));
  EXPECT_THAT(text, HasSubstr("standard on single, of 24.0 GiB, which is more than there is:\n"));
  EXPECT_THAT(text, Not(HasSubstr("predicted"))) << "no card, no times";
  EXPECT_THAT(text,
              testing::EndsWith("\n\nnothing fits; the least is standard on single, 24.0 GiB of 9.4 GiB\n"));
}

TEST(CardPlanJson, HasEverythingInBytesAndSeconds) {
  const nlohmann::json plan = nlohmann::json::parse(CardPlanJson(TwoRows()));
  EXPECT_EQ(plan["gpu"]["name"], "RTX 4070 Ti Super");
  EXPECT_EQ(plan["gpu_bytes"], 10 * kGiB);
  EXPECT_EQ(plan["job_bytes_max"], 10 * kGiB - kGpuDriverBytes);
  EXPECT_EQ(plan["job_fits"], false);
  ASSERT_EQ(plan["rows"].size(), 2u);
  const nlohmann::json& row = plan["rows"][1];
  EXPECT_EQ(row["vram_mode"], "fp8_offload");
  EXPECT_EQ(row["is_recommended"], true);
  EXPECT_EQ(row["is_job"], false);
  EXPECT_EQ(row["needed_bytes"], 4 * kGiB);
  EXPECT_EQ(row["stages"][1]["stage"], "denoise");
  EXPECT_EQ(row["stages"][1]["by_use"]["weight_buffers_bytes"], 2 * kGiB);
  EXPECT_EQ(row["predicted_seconds"]["step"], 12.5);
  EXPECT_EQ(row["predicted_seconds"]["total"], 1 + 2 + 50 * 12.5 + 60);
  EXPECT_TRUE(plan["rows"][0]["predicted_seconds"].is_null());
}

TEST(CardPlanSvg, DrawsABarForEveryStageAndTheLimit) {
  const std::string svg = CardPlanSvg(TwoRows());
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
  EXPECT_THAT(svg, HasSubstr("960x960_10s &amp; more on RTX 4070 Ti Super: GiB on each GPU"));
  EXPECT_THAT(svg, HasSubstr("a job may take 9.4 GiB"));
  std::size_t pieces = 0;
  for (std::size_t at = svg.find("width=\"14\""); at != std::string::npos;
       at = svg.find("width=\"14\"", at + 1)) {
    ++pieces;
  }
  EXPECT_EQ(pieces, 11u) << "1 + 2 + 2 of the one row, 1 + 3 + 2 of the other";
}

}  // namespace
}  // namespace ovi::client
