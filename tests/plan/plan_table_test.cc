// Which rows a plan table has, what is recommended and why: on mini-ovi, which is planned in no time.
#include "worker/plan/plan_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;

constexpr GpuModel kCard{.name = "card",
                         .bytes = 0,  // a plan goes by the request's
                         .bf16_flops = 1e12,
                         .int8_ops = 2e12,
                         .memory_bytes_per_second = 1e11,
                         .link_bytes_per_second = 1e10};

const ModelFolder& Mini() {
  static const ModelFolder model = *OpenModelConfig(OVI_SOURCE_DIR "/configs/models/mini-ovi");
  return model;
}

ClipRequest Clip(VramMode mode = VramMode::kAuto, Precision precision = Precision::kAsExecuted) {
  JobSpec job;
  job.size = Size{96, 96};
  job.vram_mode = mode;
  job.precision = precision;
  return *ResolveClip(job, {.text = "rain"}, 0, Mini(), std::nullopt);
}

// On a card with so many bytes for jobs.
PlanTable Table(const ClipRequest& clip, GpuRequest gpus, std::int64_t bytes, bool all = false) {
  const absl::StatusOr<PlanTable> table = MakePlanTable({.model = Mini(),
                                                         .clip = clip,
                                                         .gpus = gpus,
                                                         .gpu_bytes = kGpuDriverBytes + bytes,
                                                         .gpu = &kCard,
                                                         .all = all});
  EXPECT_TRUE(table.ok()) << table.status();
  return table.value_or(PlanTable{});
}

std::string WordsOf(const PlanRow& row) {
  return absl::StrCat(ToString(row.vram_mode), " ", ToString(row.gpus));
}
std::vector<std::string> RowsOf(const PlanTable& table) {
  std::vector<std::string> rows;
  for (const PlanRow& row : table.rows) rows.push_back(WordsOf(row));
  return rows;
}
const PlanRow& RowOf(const PlanTable& table, const std::string& words) {
  const auto found = std::find_if(table.rows.begin(), table.rows.end(),
                                  [&](const PlanRow& r) { return WordsOf(r) == words; });
  EXPECT_NE(found, table.rows.end()) << words;
  return found == table.rows.end() ? table.rows.front() : *found;
}

constexpr std::int64_t kPlenty = std::int64_t{1} << 30;

TEST(PlanTable, RecommendsStandardWhereItFits) {
  const PlanTable table = Table(Clip(), {}, kPlenty);
  EXPECT_EQ(table.bytes_max, kPlenty);
  EXPECT_THAT(RowsOf(table),
              ElementsAre("standard single", "fp8 single", "fp8_offload single", "ultra_low single"));
  ASSERT_TRUE(table.recommended.has_value());
  EXPECT_EQ(*table.recommended, 0u);
  EXPECT_EQ(table.own, 0u) << "auto means what is best";
  EXPECT_THAT(table.reason, HasSubstr("standard on single: nothing is quantised, and it needs "));
  for (const PlanRow& row : table.rows) {
    EXPECT_TRUE(row.fits);
    EXPECT_LE(row.bytes_needed, row.plan.bytes_peak);
    ASSERT_TRUE(row.time.has_value());
    EXPECT_EQ(row.time->steps, 12);
    EXPECT_GT(row.time->seconds(), 0);
  }
}

// On 8 GPUs mini-ovi's weights are what counts.
TEST(PlanTable, TakesTheNearestModeThatFits) {
  constexpr GpuRequest kEight{GpuAllocation::kMulti, 8};
  const std::int64_t standard = RowOf(Table(Clip(), kEight, kPlenty), "standard multi_8").bytes_needed;
  EXPECT_TRUE(RowOf(Table(Clip(), kEight, standard), "standard multi_8").fits) << "exactly";
  const PlanTable less = Table(Clip(), kEight, standard - 1);
  ASSERT_TRUE(less.recommended.has_value());
  EXPECT_EQ(WordsOf(less.rows[*less.recommended]), "ultra_low multi_8");
  EXPECT_EQ(less.own, *less.recommended);
  EXPECT_FALSE(RowOf(less, "standard multi_8").fits);
  EXPECT_FALSE(RowOf(less, "standard multi_8").time.has_value());
  EXPECT_THAT(less.reason, HasSubstr("of the modes that fit, its pictures are nearest to standard's"));
}

TEST(PlanTable, StaysWithinTheJobsOwnLimit) {
  constexpr GpuRequest kEight{GpuAllocation::kMulti, 8};
  const std::int64_t standard = RowOf(Table(Clip(), kEight, kPlenty), "standard multi_8").bytes_needed;
  const auto limited = [&](std::int64_t bytes_max) {
    return *MakePlanTable({.model = Mini(),
                           .clip = Clip(),
                           .gpus = kEight,
                           .gpu_bytes = kGpuDriverBytes + standard,
                           .bytes_max = bytes_max});
  };
  EXPECT_EQ(limited(kPlenty).bytes_max, standard) << "no more than the card has";
  EXPECT_TRUE(RowOf(limited(standard), "standard multi_8").fits) << "exactly";
  const PlanTable less = limited(standard - 1);
  EXPECT_EQ(less.bytes_max, standard - 1);
  EXPECT_FALSE(RowOf(less, "standard multi_8").fits);
}

TEST(PlanTable, TakesAsFewMoreGpusAsItCanWhereNoModeFits) {
  const std::int64_t least = RowOf(Table(Clip(), {}, kPlenty), "ultra_low single").bytes_needed;
  const PlanTable table = Table(Clip(), {}, least - 1);
  ASSERT_TRUE(table.recommended.has_value());
  const PlanRow& recommended = table.rows[*table.recommended];
  EXPECT_GT(recommended.gpus.gpu_count, 1);
  EXPECT_TRUE(recommended.fits);
  EXPECT_THAT(table.reason, HasSubstr("on single the least, "));
  EXPECT_EQ(table.rows.size(), 5u) << "the modes on one GPU, and the recommended row";
  EXPECT_EQ(table.rows[table.own].gpus.gpu_count, 1);
  const PlanTable every = Table(Clip(), {}, least - 1, true);
  EXPECT_EQ(WordsOf(every.rows[*every.recommended]), WordsOf(recommended));
  for (const PlanRow& row : every.rows) {
    if (row.gpus.gpu_count < recommended.gpus.gpu_count) {
      EXPECT_FALSE(row.fits) << WordsOf(row);
    }
  }

  const PlanTable none = Table(Clip(), {}, 1000);
  EXPECT_FALSE(none.recommended.has_value());
  EXPECT_THAT(none.reason, HasSubstr("nothing fits; the least is "));
}

TEST(PlanTable, ShowsEveryModeOnEveryGroupOnce) {
  const PlanTable table = Table(Clip(), {}, kPlenty, true);
  std::vector<std::string> rows = RowsOf(table);
  EXPECT_THAT(rows, IsSupersetOf({"standard single", "fp8_offload multi_2", "standard fsdp_2", "fp8 multi_8",
                                  "ultra_low fsdp_8"}));
  EXPECT_EQ(rows.size(), 4u + 3 * (4 + 3)) << "fp8_offload is fp8 where weights are sharded";
  std::sort(rows.begin(), rows.end());
  EXPECT_EQ(std::unique(rows.begin(), rows.end()), rows.end());
  const auto denoise = [&table](const char* row) {
    return PlannedBytes(RowOf(table, row).plan, Stage::kDenoise);
  };
  EXPECT_LT(denoise("standard fsdp_4"), denoise("standard fsdp_2"));
  EXPECT_LT(denoise("standard fsdp_2"), denoise("standard multi_2"));
}

TEST(PlanTable, KeepsToWhatTheJobAsksFor) {
  const PlanTable fp8 = Table(Clip(VramMode::kFp8), {GpuAllocation::kMulti, 2}, kPlenty);
  EXPECT_EQ(WordsOf(fp8.rows[fp8.own]), "fp8 multi_2");
  EXPECT_EQ(WordsOf(fp8.rows[*fp8.recommended]), "standard multi_2");
  const PlanTable sharded = Table(Clip(VramMode::kFp8Offload), {GpuAllocation::kFsdp, 3}, kPlenty);
  EXPECT_EQ(WordsOf(sharded.rows[sharded.own]), "fp8_offload fsdp_3");
  const PlanTable open = Table(Clip(), {GpuAllocation::kFsdp, 0}, kPlenty);
  EXPECT_EQ(WordsOf(open.rows[open.own]), "standard fsdp_2");
  const PlanTable reference = Table(Clip(VramMode::kAuto, Precision::kReference), {}, kPlenty);
  EXPECT_THAT(RowsOf(reference), ElementsAre("standard single"));
  EXPECT_FALSE(reference.rows[0].time.has_value()) << "the rates are of tensor cores";

  const absl::Status illegal =
      MakePlanTable(
          {.model = Mini(), .clip = Clip(), .gpus = {GpuAllocation::kMulti, 7}, .gpu_bytes = kPlenty})
          .status();
  EXPECT_EQ(illegal.code(), absl::StatusCode::kInvalidArgument) << illegal;
}

// The plans are those that a run follows, and what is needed depends on no limit.
TEST(PlanTable, IsWhatSettlingTheClipGives) {
  const PlanTable plenty = Table(Clip(), {}, kPlenty);
  for (const VramMode mode : {VramMode::kStandard, VramMode::kFp8, VramMode::kUltraLow}) {
    const std::string words = absl::StrCat(ToString(mode), " single");
    const std::int64_t needed = RowOf(plenty, words).bytes_needed;
    const absl::StatusOr<SettledClip> settled = SettleClip(Mini(), Clip(mode), {}, kPlenty);
    ASSERT_TRUE(settled.ok()) << settled.status();
    EXPECT_EQ(RowOf(plenty, words).plan.bytes_peak, settled->plan.bytes_peak);
    EXPECT_EQ(RowOf(plenty, words).clip.memory, settled->clip.memory);
    EXPECT_TRUE(SettleClip(Mini(), Clip(mode), {}, needed).ok());
    EXPECT_EQ(RowOf(Table(Clip(), {}, needed), words).bytes_needed, needed);
  }
}

TEST(PlanTable, TellsHowFarItIsAndCanBeEnded) {
  std::vector<int> told;
  const ClipRequest clip = Clip();
  const auto made = MakePlanTable({.model = Mini(),
                                   .clip = clip,
                                   .gpu_bytes = kGpuDriverBytes + kPlenty,
                                   .on_progress = [&told](int rows) {
                                     told.push_back(rows);
                                     return absl::OkStatus();
                                   }});
  ASSERT_TRUE(made.ok());
  EXPECT_THAT(told, ElementsAre(1, 2, 3, 4)) << "each is planned once";
  const auto ended = MakePlanTable(
      {.model = Mini(), .clip = clip, .gpu_bytes = kGpuDriverBytes + kPlenty, .on_progress = [](int rows) {
         return rows == 2 ? absl::CancelledError("enough") : absl::OkStatus();
       }});
  EXPECT_EQ(ended.status(), absl::CancelledError("enough"));
}

}  // namespace
}  // namespace ovi
