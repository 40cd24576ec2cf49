// MP4 out: H.264 (yuv420p, BT.709) and AAC by the `ffmpeg` program, fed through pipes while frames are
// decoded.
//
// A program and not its libraries: builds with x264 are GPL, and its crash stays outside. It ends by itself
// when its stdin closes, so it never outlives a killed worker for long.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/part_file.h"
#include "base/subprocess.h"

namespace ovi {

struct Mp4Options {
  std::string path;
  std::int64_t height = 0;  // even
  std::int64_t width = 0;   // even
  int fps = 24;
  int audio_sample_rate = 16000;                // of the samples given; the track has 44,100 Hz
  std::map<std::string, std::string> metadata;  // model, seed, steps, ...; see FfmpegMetadata
  std::string x264_preset = "medium";
  int x264_crf = 18;
  std::string ffmpeg_program = "ffmpeg";
};

// Thread-compatible. `path` appears only when Finish has succeeded; after any error, or when the writer is
// destroyed before, ffmpeg is gone and so is what it wrote.
class Mp4Writer {
 public:
  // `audio`: mono, -1..1, saved as SampleToInt16 does; empty for no audio track; not used after the call.
  // INVALID_ARGUMENT for bad options, FAILED_PRECONDITION when ffmpeg is not installed or the folder cannot
  // be written to, UNAVAILABLE when ffmpeg cannot be started.
  static absl::StatusOr<std::unique_ptr<Mp4Writer>> Start(const Mp4Options& options,
                                                          std::span<const float> audio);

  // One or more whole frames, row-major, 3 bytes a pixel. Blocks while ffmpeg is busy. UNAVAILABLE with its
  // last words when it has failed (disk full, killed, ...), then and in all later calls.
  absl::Status WriteFrames(std::span<const std::uint8_t> rgb);

  // Waits for ffmpeg, syncs, renames. INTERNAL when no frame was written. Call once.
  absl::Status Finish();

  std::int64_t frames_written() const { return frames_written_; }

 private:
  Mp4Writer(std::string path, std::size_t frame_bytes, std::unique_ptr<PartFile> part,
            std::unique_ptr<Subprocess> ffmpeg);
  absl::Status Fail(absl::Status status);

  std::string path_;
  std::size_t frame_bytes_;
  std::int64_t frames_written_ = 0;
  absl::Status failure_;
  std::unique_ptr<PartFile> part_;      // null once committed or failed
  std::unique_ptr<Subprocess> ffmpeg_;  // after part_: ended before its file is removed
};

}  // namespace ovi
