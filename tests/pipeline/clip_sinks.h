// What tests do with a clip that an engine makes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "worker/pipeline/engine.h"

namespace ovi {

class KeepingSink final : public ClipSink {
 public:
  absl::Status Begin(const ClipInfo&, std::span<const float> samples) override {
    audio.assign(samples.begin(), samples.end());
    return absl::OkStatus();
  }
  absl::Status AddFrames(std::span<const std::uint8_t> rgb) override {
    frames.insert(frames.end(), rgb.begin(), rgb.end());
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }

  std::vector<float> audio;
  std::vector<std::uint8_t> frames;
};

class DroppingSink final : public ClipSink {
 public:
  absl::Status Begin(const ClipInfo&, std::span<const float>) override { return absl::OkStatus(); }
  absl::Status AddFrames(std::span<const std::uint8_t>) override { return absl::OkStatus(); }
  absl::Status Finish() override { return absl::OkStatus(); }
};

}  // namespace ovi
