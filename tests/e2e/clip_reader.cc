#include "tests/e2e/clip_reader.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/subprocess.h"

namespace ovi {
namespace {

absl::StatusOr<std::string> Output(const std::vector<std::string>& argv) {
  OVI_ASSIGN_OR_RETURN(CapturedRun run, RunAndCapture(argv));
  if (run.exit.ok()) return std::move(run.stdout_text);
  return absl::UnknownError(absl::StrCat(argv[0], ": ", run.exit.ToString(), ": ", run.stderr_tail));
}

}  // namespace

absl::StatusOr<Frames> ReadFrames(const std::string& path, int height, int width) {
  OVI_ASSIGN_OR_RETURN(const std::string bytes,
                       Output({"ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:v", "-fps_mode",
                               "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"}));
  const std::size_t frame_bytes = static_cast<std::size_t>(height * width) * 3;
  if (bytes.empty() || bytes.size() % frame_bytes != 0) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", bytes.size(), " bytes are no frames of ", height, "x", width));
  }
  return Frames{.count = static_cast<int>(bytes.size() / frame_bytes),
                .height = height,
                .width = width,
                .rgb = {bytes.begin(), bytes.end()}};
}

absl::StatusOr<std::vector<float>> ReadSound(const std::string& path) {
  OVI_ASSIGN_OR_RETURN(const std::string bytes,
                       Output({"ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:a", "-f", "s16le",
                               "-ac", "1", "-ar", absl::StrCat(kReadSampleRate), "-"}));
  std::vector<float> samples(bytes.size() / 2);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto low = static_cast<std::uint8_t>(bytes[2 * i]);
    const auto high = static_cast<std::uint8_t>(bytes[2 * i + 1]);
    samples[i] = static_cast<float>(static_cast<std::int16_t>(low | high << 8)) / 32767.0f;
  }
  return samples;
}

absl::StatusOr<std::string> Probe(const std::string& path) {
  return Output({"ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", path});
}

}  // namespace ovi
