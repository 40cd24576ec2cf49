#include "worker/cli/reporter.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/format.h"
#include "worker/cli/print_error.h"

namespace ovi {
namespace {

// The largest of the stages' peaks.
std::int64_t PeakBytes(const ClipReport& report) {
  std::int64_t peak = 0;
  for (const StageReport& stage : report.stages) peak = std::max(peak, stage.arena_bytes_peak);
  return peak;
}

// "vram_mode ultra_low, 3.8 GiB planned, 10.1 GiB of weights on the host, decoded in 4 strips".
std::string DescribeMemory(const SettledClip& settled) {
  const MemoryLayout& memory = settled.clip.memory;
  std::string text = absl::StrCat("vram_mode ", ToString(settled.clip.vram_mode), ", ",
                                  memory.block_matrices.low_rank > 0 ? "low-rank weights, " : "",
                                  FormatBytes(settled.plan.bytes_peak), " planned");
  if (memory.streamed) absl::StrAppend(&text, ", ", FormatBytes(settled.plan.host_bytes), " on the host");
  if (memory.decode_strips > 1) absl::StrAppend(&text, ", decoded in ", memory.decode_strips, " strips");
  return text;
}

// People's words, on a terminal with a moving bar or into a pipe with a line a step.
class TextReporter final : public Reporter {
 public:
  explicit TextReporter(bool bar) : bar_(bar) {}

  void Warning(const std::string& text) override {
    std::fprintf(stderr, "ovi-worker: warning: %s\n", OneLine(text).c_str());
  }

  void Adapter(const LoraAdapter& adapter) override {
    std::printf("adapter %s, strength %g\n", OneLine(DescribeMatch(adapter)).c_str(), adapter.strength);
    if (!adapter.unmatched.empty()) Warning(UnmatchedWarning(adapter));
  }

  void Begin(const ClipTitle& title, const ModelFolder& model, const SettledClip& settled) override {
    const ClipRequest& clip = settled.clip;
    constexpr std::size_t kPromptBytesShown = 160;
    std::printf("[%d/%d] %s\n", title.index + 1, title.count,
                OneLine(title.prompt, kPromptBytesShown).c_str());
    std::printf("      %s, %s, %dx%d, %d frames, %d steps, seed %llu\n", model.spec.name.c_str(),
                clip.image_to_video ? "i2v" : "t2v", static_cast<int>(clip.size.height),
                static_cast<int>(clip.size.width), static_cast<int>(model.frames()), clip.steps,
                static_cast<unsigned long long>(clip.seed));
    std::printf("      %s\n", DescribeMemory(settled).c_str());
    std::fflush(stdout);
  }

  void Step(const Progress& progress) override {
    if (bar_) {
      line_is_open_ = progress.step < progress.steps;
      std::printf("\r\x1b[K%s%s", Bar(progress).c_str(), line_is_open_ ? "" : "\n");
    } else if (progress.step > 0) {  // step 0 is worth a bar, not a line
      const std::string pace =
          progress.seconds_per_step > 0 ? absl::StrFormat("  %.2f s/step", progress.seconds_per_step) : "";
      std::printf("%s %d/%d%s\n", std::string(StageName(progress.stage)).c_str(), progress.step,
                  progress.steps, pace.c_str());
    }
    std::fflush(stdout);
  }

  void Done(const ClipTitle&, const SettledClip&, const ClipFiles& files, const ClipReport& report,
            const ClipCost& cost) override {
    std::printf("      %s, peak memory %s of weights and activations, %s resident in all\n",
                FormatSeconds(cost.seconds).c_str(), FormatBytes(PeakBytes(report)).c_str(),
                FormatBytes(cost.resident_bytes_peak).c_str());
    std::printf("      video   %s\n      poster  %s\n      sheet   %s\n", files.video.c_str(),
                files.poster.c_str(), files.sheet.c_str());
    std::fflush(stdout);
  }

  void Failed(const std::string& message) override {
    if (line_is_open_) std::printf("\n");
    std::fflush(stdout);
    PrintError(message);
  }

 private:
  static std::string Bar(const Progress& progress) {
    return FormatBar({.stage = StageName(progress.stage),
                      .step = progress.step,
                      .steps = progress.steps,
                      .seconds_per_step = progress.seconds_per_step},
                     30);
  }

  bool bar_;
  bool line_is_open_ = false;  // the cursor is behind a bar
};

// One JSON object a line on stdout.
class JsonReporter final : public Reporter {
 public:
  void Warning(const std::string& text) override { Print({{"event", "warning"}, {"message", text}}); }

  void Adapter(const LoraAdapter& adapter) override {
    Print({{"event", "adapter"},
           {"path", adapter.path},
           {"strength", adapter.strength},
           {"tensors_used", adapter.matched},
           {"tensors_changed", adapter.changes.size()},
           {"unmatched", adapter.unmatched}});
    if (!adapter.unmatched.empty()) Warning(UnmatchedWarning(adapter));
  }

  void Begin(const ClipTitle& title, const ModelFolder& model, const SettledClip& settled) override {
    const ClipRequest& clip = settled.clip;
    Print({{"event", "clip"},
           {"index", title.index},
           {"count", title.count},
           {"prompt", title.prompt},
           {"model", model.spec.name},
           {"mode", clip.image_to_video ? "i2v" : "t2v"},
           {"height", clip.size.height},
           {"width", clip.size.width},
           {"frames", model.frames()},
           {"steps", clip.steps},
           {"seed", clip.seed},
           {"vram_mode", ToString(clip.vram_mode)},
           {"low_rank", clip.memory.block_matrices.low_rank},
           {"bytes_planned", settled.plan.bytes_peak},
           {"host_bytes_planned", settled.plan.host_bytes},
           {"decode_strips", clip.memory.decode_strips}});
  }

  void Step(const Progress& progress) override {
    Print({{"event", "progress"},
           {"stage", std::string(StageName(progress.stage))},
           {"step", progress.step},
           {"steps", progress.steps},
           {"seconds_per_step", progress.seconds_per_step}});
  }

  void Done(const ClipTitle& title, const SettledClip& settled, const ClipFiles& files,
            const ClipReport& report, const ClipCost& cost) override {
    nlohmann::json stages = nlohmann::json::array();
    for (const StageReport& stage : report.stages) {
      stages.push_back({{"stage", std::string(StageName(stage.stage))},
                        {"seconds", stage.seconds},
                        {"arena_bytes_peak", stage.arena_bytes_peak},
                        {"arena_bytes_planned", PlannedBytes(settled.plan, stage.stage)}});
    }
    Print({{"event", "result"},
           {"index", title.index},
           {"seed", settled.clip.seed},
           {"video", files.video},
           {"poster", files.poster},
           {"sheet", files.sheet},
           {"seconds", cost.seconds},
           {"resident_bytes_peak", cost.resident_bytes_peak},
           {"stages", stages}});
  }

  void Failed(const std::string& message) override {
    Print({{"event", "error"}, {"message", message}});
    PrintError(message);
  }

 private:
  static void Print(const nlohmann::json& event) {
    // Prompts are valid UTF-8; a path of the file system need not be.
    std::printf("%s\n", event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    std::fflush(stdout);
  }
};

}  // namespace

std::unique_ptr<Reporter> MakeReporter(ReportStyle style) {
  if (style == ReportStyle::kJson) return std::make_unique<JsonReporter>();
  return std::make_unique<TextReporter>(style == ReportStyle::kBar);
}

}  // namespace ovi
