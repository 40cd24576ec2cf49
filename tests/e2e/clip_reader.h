// A finished MP4 as anybody else's player sees it: decoded by ffmpeg, described by ffprobe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/e2e/clip_checks.h"

namespace ovi {

// All frames, of a file of that size.
absl::StatusOr<Frames> ReadFrames(const std::string& path, int height, int width);

// The sound track, mono, at 16 kHz.
inline constexpr int kReadSampleRate = 16000;
absl::StatusOr<std::vector<float>> ReadSound(const std::string& path);

// `ffprobe -show_format -show_streams`, JSON.
absl::StatusOr<std::string> Probe(const std::string& path);

}  // namespace ovi
