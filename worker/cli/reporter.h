// What `generate` says while it works: a bar on a terminal, plain lines into a pipe, JSON lines for machines.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "worker/pipeline/engine.h"
#include "worker/pipeline/progress.h"
#include "worker/plan/clip_plan.h"

namespace ovi {

// One clip of the run, as shown to the user.
struct ClipTitle {
  int index = 0;  // from 0
  int count = 1;
  std::string prompt;
};

struct ClipFiles {
  std::string video, poster, sheet;
};

struct ClipCost {
  double seconds = 0;
  std::int64_t resident_bytes_peak =
      0;  // of the process so far: the arena, the program, its libraries and buffers
};

class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void Warning(const std::string& text) = 0;
  // An adapter of the run: how much of it is used, and a warning of what is not.
  virtual void Adapter(const LoraAdapter& adapter) = 0;
  virtual void Begin(const ClipTitle& title, const ModelFolder& model, const SettledClip& settled) = 0;
  virtual void Step(const Progress& progress) = 0;
  virtual void Done(const ClipTitle& title, const SettledClip& settled, const ClipFiles& files,
                    const ClipReport& report, const ClipCost& cost) = 0;
  // The end of the run; `message` is one line.
  virtual void Failed(const std::string& message) = 0;
};

enum class ReportStyle { kBar, kLines, kJson };
std::unique_ptr<Reporter> MakeReporter(ReportStyle style);

}  // namespace ovi
