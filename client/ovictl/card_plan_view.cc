#include "client/ovictl/card_plan_view.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/format.h"
#include "client/ovictl/memory_style.h"
#include "client/ovictl/table.h"
#include "worker/pipeline/progress.h"

namespace ovi::client {
namespace {

constexpr const char* kPredicted = "times are predicted from data sheets (configs/gpus.yaml), not measured";

std::string WordsOf(const PlanRow& row) {
  return absl::StrCat(ToString(row.vram_mode), " on ", ToString(row.gpus));
}

std::string StepTime(double seconds) {
  return absl::StrFormat("%.*f s", seconds < 10 ? 2 : 1, seconds);
}

std::string NoteOf(const CardPlan& plan, std::size_t index) {
  const bool best = plan.table.recommended == index;
  if (plan.table.own == index) return best ? "the job, best" : "the job";
  return best ? "best" : "";
}

std::string Table(const CardPlan& plan, const ByteUnit& unit, const Screen& screen) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < plan.table.rows.size(); ++i) {
    const PlanRow& row = plan.table.rows[i];
    const auto stage = [&](Stage which) { return unit.Format(PlannedBytes(row.plan, which)); };
    rows.push_back({ToString(row.vram_mode), ToString(row.gpus), stage(Stage::kEncode),
                    stage(Stage::kDenoise), stage(Stage::kDecode), unit.Format(row.bytes_needed),
                    row.fits ? Cell("yes", Tint::kGood) : Cell("no", Tint::kBad),
                    unit.Format(row.plan.host_bytes),
                    row.time ? StepTime(row.time->step_seconds) : std::string(),
                    row.time ? FormatSeconds(row.time->seconds()) : std::string(), NoteOf(plan, i)});
  }
  return RenderTable({{"MODE"},
                      {"GPUS"},
                      {"ENCODE", Align::kRight},
                      {"DENOISE", Align::kRight},
                      {"DECODE", Align::kRight},
                      {"NEEDS", Align::kRight},
                      {"FITS"},
                      {"HOST", Align::kRight},
                      {"STEP", Align::kRight},
                      {"TIME", Align::kRight},
                      {""}},
                     rows, screen);
}

// `####....`: letters for what a stage takes, dots up to the limit, which is the bar's end unless more is
// taken.
std::string Bar(const StageNeed& stage, std::int64_t bytes_full, const Screen& screen) {
  constexpr int kColumns = 40;
  const auto column = [&](std::int64_t bytes) {
    return static_cast<int>(
        std::lround(kColumns * static_cast<double>(bytes) / static_cast<double>(bytes_full)));
  };
  std::string bar;
  std::int64_t begin = 0;
  for (const auto& [use, style] : kUseStyles) {
    const std::int64_t end = begin + BytesOf(stage, use);
    const auto width = static_cast<std::size_t>(column(end) - column(begin));
    bar += Tinted(std::string(width, style.letter), style.tint, screen.colours);
    begin = end;
  }
  return bar + std::string(static_cast<std::size_t>(std::max(0, kColumns - column(begin))), '.');
}

std::string Bars(const CardPlan& plan, const ByteUnit& unit, const Screen& screen) {
  const PlanRow& row = plan.chosen();
  const std::int64_t full = std::max(plan.table.bytes_max, row.plan.bytes_peak);
  std::string text =
      absl::StrCat("memory of ", row.gpus.gpu_count > 1 ? "each GPU" : "the GPU", " with ", WordsOf(row),
                   ", of ", FormatBytes(full), row.fits ? ":\n" : ", which is more than there is:\n");
  for (const StageNeed& stage : row.plan.stages) {
    std::vector<std::string> parts;
    for (const auto& [use, style] : kUseStyles) {
      const std::int64_t bytes = BytesOf(stage, use);
      if (bytes > 0) parts.push_back(absl::StrCat(std::string(1, style.letter), " ", unit.Format(bytes)));
    }
    absl::StrAppendFormat(&text, "  %-8s[%s] %5s %s: %s\n", std::string(StageName(stage.stage)),
                          Bar(stage, full, screen), unit.Format(stage.bytes), unit.name,
                          absl::StrJoin(parts, ", "));
  }
  std::vector<std::string> legend;
  for (const auto& [use, style] : kUseStyles) {
    legend.push_back(
        absl::StrCat(Tinted(std::string(1, style.letter), style.tint, screen.colours), " ", style.words));
  }
  absl::StrAppend(&text, "  ", absl::StrJoin(legend, ", "), "\n");
  return text;
}

// The sentence, its lines no longer than the others'.
std::string Wrapped(std::string_view text) {
  constexpr std::size_t kColumns = 100;
  std::string out;
  while (text.size() > kColumns) {
    const std::size_t blank = text.rfind(' ', kColumns);
    if (blank == std::string_view::npos) break;
    absl::StrAppend(&out, std::string(text.substr(0, blank)), "\n");
    text.remove_prefix(blank + 1);
  }
  return absl::StrCat(out, std::string(text), "\n");
}

nlohmann::json RowJson(const CardPlan& plan, std::size_t index) {
  const PlanRow& row = plan.table.rows[index];
  nlohmann::json stages = nlohmann::json::array();
  for (const StageNeed& stage : row.plan.stages) {
    nlohmann::json uses;
    for (const auto& [use, style] : kUseStyles)
      uses[std::string(style.name) + "_bytes"] = BytesOf(stage, use);
    stages.push_back(
        {{"stage", std::string(StageName(stage.stage))}, {"bytes", stage.bytes}, {"by_use", uses}});
  }
  nlohmann::json seconds;
  if (row.time) {
    seconds = {{"encode", row.time->encode_seconds}, {"load", row.time->load_seconds},
               {"step", row.time->step_seconds},     {"denoise", row.time->denoise_seconds()},
               {"decode", row.time->decode_seconds}, {"total", row.time->seconds()}};
  }
  return {{"vram_mode", ToString(row.vram_mode)},
          {"gpu_allocation", ToString(row.gpus)},
          {"gpu_count", row.gpus.gpu_count},
          {"cfg", row.topology.cfg},
          {"sp", row.topology.sp},
          {"fsdp", row.topology.fsdp},
          {"decode_strips", row.clip.memory.decode_strips},
          {"fits", row.fits},
          {"needed_bytes", row.bytes_needed},
          {"peak_bytes", row.plan.bytes_peak},
          {"host_bytes", row.plan.host_bytes},
          {"stages", stages},
          {"predicted_seconds", seconds},
          {"is_job", plan.table.own == index},
          {"is_recommended", plan.table.recommended == index}};
}

}  // namespace

std::string CardPlanText(const CardPlan& plan, const Screen& screen) {
  const ByteUnit unit = UnitFor(plan.table);
  const ClipRequest& clip = plan.clip;
  std::string text = absl::StrCat(plan.model, ": ", clip.size.width, "x", clip.size.height, " pixels, ",
                                  plan.frames, " frames, ", clip.steps, " steps of ",
                                  clip.needs_negative_pass() ? "two passes" : "one pass", "\n");
  const bool limited = plan.table.bytes_max < plan.gpu_bytes - kGpuDriverBytes;
  absl::StrAppend(
      &text,
      Wrapped(absl::StrCat(plan.gpu ? plan.gpu->name : std::string("a card"), ": ",
                           FormatBytes(plan.gpu_bytes), ", of which ", limited ? "this" : "a",
                           " job may take ", FormatBytes(plan.table.bytes_max), ": ",
                           limited ? "its max_vram"
                                   : absl::StrCat(FormatBytes(kGpuDriverBytes),
                                                  " go to driver and CUDA (and more to a desktop)"))),
      "\n");
  absl::StrAppend(&text, Table(plan, unit, screen), "in ", unit.name,
                  " on each GPU; HOST: main memory for streamed weights and frames\n");
  if (plan.gpu) absl::StrAppend(&text, kPredicted, "\n");
  absl::StrAppend(&text, "\n", Bars(plan, unit, screen), "\n");
  const std::string verdict = plan.table.recommended ? "recommended: " : "";
  return text + Wrapped(verdict + plan.table.reason);
}

std::string CardPlanJson(const CardPlan& plan) {
  nlohmann::json gpu;
  if (plan.gpu) {
    gpu = {{"name", plan.gpu->name},
           {"bf16_flops", plan.gpu->bf16_flops},
           {"fp8_flops", plan.gpu->fp8_flops},
           {"int8_ops", plan.gpu->int8_ops},
           {"memory_bytes_per_second", plan.gpu->memory_bytes_per_second},
           {"link_bytes_per_second", plan.gpu->link_bytes_per_second}};
  }
  nlohmann::json rows = nlohmann::json::array();
  for (std::size_t i = 0; i < plan.table.rows.size(); ++i) rows.push_back(RowJson(plan, i));
  const nlohmann::json line = {{"model_name", plan.model},
                               {"width", plan.clip.size.width},
                               {"height", plan.clip.size.height},
                               {"frames", plan.frames},
                               {"sample_steps", plan.clip.steps},
                               {"passes", plan.clip.needs_negative_pass() ? 2 : 1},
                               {"gpu", gpu},
                               {"gpu_bytes", plan.gpu_bytes},
                               {"driver_bytes", kGpuDriverBytes},
                               {"job_bytes_max", plan.table.bytes_max},
                               {"rows", rows},
                               {"job_fits", plan.own().fits},
                               {"reason", plan.table.reason},
                               {"note", kPredicted}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ovi::client
