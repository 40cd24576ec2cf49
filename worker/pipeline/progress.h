// How a running clip reports, and how it is told to stop.
#pragma once

#include <atomic>
#include <functional>
#include <string_view>

#include "absl/status/status.h"

namespace ovi {

enum class Stage { kEncode, kDenoise, kDecode };

constexpr std::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kEncode:
      return "encode";
    case Stage::kDenoise:
      return "denoise";
    case Stage::kDecode:
      return "decode";
  }
  return "?";
}

// After `step` of `steps` of a stage are done; step 0 announces the stage. seconds_per_step: mean of this
// stage so far.
struct Progress {
  Stage stage = Stage::kEncode;
  int step = 0;
  int steps = 0;
  double seconds_per_step = 0;
};

// Borrowed by the pipeline for the length of a clip. `cancelled` may be set from any thread or a signal
// handler.
struct Control {
  std::function<void(const Progress&)> on_progress;  // may be null
  const std::atomic<bool>* cancelled = nullptr;      // may be null
  // Whatever else may end the clip, such as another rank's failure; its error does. May be null.
  std::function<absl::Status()> interruption;

  // CANCELLED once somebody asked for it, or an interruption. Called between blocks.
  absl::Status Check() const {
    if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed))
      return absl::CancelledError("cancelled");
    return interruption ? interruption() : absl::OkStatus();
  }
};

}  // namespace ovi
