// What ffmpeg is told, as pure functions: its arguments and its metadata file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/media/mp4_writer.h"

namespace ovi {

// The descriptors of the child that carry audio and metadata; frames come by its stdin.
inline constexpr int kAudioFd = 3;
inline constexpr int kMetadataFd = 4;

// INVALID_ARGUMENT for a size that is odd or not 2..16384, a rate that is not positive, a path that is empty,
// or metadata that FfmpegMetadata refuses.
absl::Status CheckMp4Options(const Mp4Options& options);

// argv of the run that writes `output_path`. No text of the user's is in it but the path.
std::vector<std::string> FfmpegArgv(const Mp4Options& options, bool has_audio,
                                    const std::string& output_path);

// The metadata in ffmpeg's ffmetadata format. Keys are letters, digits, "_", "-" and "."; values UTF-8 text
// without NUL, kMetadataBytesMax in all. INVALID_ARGUMENT otherwise.
inline constexpr std::size_t kMetadataBytesMax = 1 << 20;
absl::StatusOr<std::string> FfmpegMetadata(const std::map<std::string, std::string>& metadata);

}  // namespace ovi
