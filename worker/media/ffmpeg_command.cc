#include "worker/media/ffmpeg_command.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace ovi {
namespace {

// What players expect of AAC, and what the original's files have; the model's 16 kHz would be legal but rare.
constexpr int kAacSampleRate = 44100;
constexpr int kSideMax = 16384;  // of H.264 in x264

}  // namespace

absl::Status CheckMp4Options(const Mp4Options& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("mp4: the output path is empty");
  for (const std::int64_t side : {options.height, options.width}) {
    if (side < 2 || side > kSideMax || side % 2 != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.path, ": an MP4 of ", options.width, "x", options.height,
                       " (width x height) cannot be made; sides must be even and 2..", kSideMax));
    }
  }
  if (options.fps <= 0 || options.audio_sample_rate <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(options.path, ": fps=", options.fps, " audio_sample_rate=",
                                                   options.audio_sample_rate, "; both must be positive"));
  }
  return absl::OkStatus();
}

std::vector<std::string> FfmpegArgv(const Mp4Options& options, bool has_audio,
                                    const std::string& output_path) {
  // -xerror: without it ffmpeg 5.1 returns 0 when the disk is full as it writes the index.
  std::vector<std::string> argv = {
      options.ffmpeg_program, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-xerror", "-y"};
  const auto add = [&](std::initializer_list<std::string> more) { argv.insert(argv.end(), more); };
  add({"-f", "rawvideo", "-pixel_format", "rgb24", "-video_size",
       absl::StrCat(options.width, "x", options.height), "-framerate", absl::StrCat(options.fps), "-i",
       "pipe:0"});
  if (has_audio) {
    add({"-f", "s16le", "-ar", absl::StrCat(options.audio_sample_rate), "-ac", "1", "-i",
         absl::StrCat("pipe:", kAudioFd)});
  }
  add({"-f", "ffmetadata", "-i", absl::StrCat("pipe:", kMetadataFd)});
  add({"-map", "0:v:0"});
  if (has_audio) add({"-map", "1:a:0"});
  add({"-map_metadata", has_audio ? "2" : "1", "-map_chapters", "-1"});
  // Without the matrix here and the tags below, players guess from the size whether colours are BT.601 or
  // BT.709.
  add({"-vf",
       "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format="
       "yuv420p"});
  add({"-c:v", "libx264", "-preset", options.x264_preset, "-crf", absl::StrCat(options.x264_crf)});
  add({"-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"});
  if (has_audio) add({"-c:a", "aac", "-ar", absl::StrCat(kAacSampleRate), "-b:a", "192k"});
  // use_metadata_tags keeps keys of our own; "file:" keeps a path with a colon from being taken for a
  // protocol.
  add({"-movflags", "+faststart+use_metadata_tags", "-f", "mp4", absl::StrCat("file:", output_path)});
  return argv;
}

absl::StatusOr<std::string> FfmpegMetadata(const std::map<std::string, std::string>& metadata) {
  std::string text = ";FFMETADATA1\n";
  for (const auto& [key, value] : metadata) {
    const bool plain = std::all_of(key.begin(), key.end(), [](unsigned char c) {
      return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
    });
    if (key.empty() || !plain) {
      return absl::InvalidArgumentError(absl::StrCat("mp4 metadata: key ", Quoted(key),
                                                     " must be letters, digits, \"_\", \"-\" and \".\""));
    }
    if (value.find('\0') != std::string::npos || !IsValidUtf8(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("mp4 metadata: the value of ", key, " is not UTF-8 text"));
    }
    absl::StrAppend(&text, key, "=");
    for (const char c : value) {
      if (c == '=' || c == ';' || c == '#' || c == '\\' || c == '\n') text.push_back('\\');
      text.push_back(c);
    }
    text.push_back('\n');
    if (text.size() > kMetadataBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("mp4 metadata: more than ", kMetadataBytesMax, " bytes, up to key ", key));
    }
  }
  return text;
}

}  // namespace ovi
