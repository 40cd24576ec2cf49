#include "worker/pipeline/mp4_sink.h"

#include <filesystem>
#include <utility>

#include "base/status.h"

namespace ovi {

Mp4Sink::Mp4Sink(std::string path, std::map<std::string, std::string> metadata)
    : path_(std::move(path)), metadata_(std::move(metadata)) {}

std::string Mp4Sink::poster_path() const {
  return std::filesystem::path(path_).replace_extension(".png").string();
}

std::string Mp4Sink::sheet_path() const {
  std::filesystem::path path(path_);
  path.replace_extension();
  return path.string() + "_sheet.png";
}

absl::Status Mp4Sink::Begin(const ClipInfo& info, std::span<const float> audio) {
  Mp4Options options{.path = path_,
                     .height = info.height,
                     .width = info.width,
                     .fps = info.fps,
                     .audio_sample_rate = info.audio_sample_rate,
                     .metadata = metadata_};
  OVI_ASSIGN_OR_RETURN(writer_, Mp4Writer::Start(options, audio));
  sheet_.emplace(info.frames, info.height, info.width);
  return absl::OkStatus();
}

absl::Status Mp4Sink::AddFrames(std::span<const std::uint8_t> rgb) {
  sheet_->AddFrames(rgb);
  return writer_->WriteFrames(rgb);
}

absl::Status Mp4Sink::Finish() {
  // Pictures first: the clip's own file is the sign that all is there.
  absl::Status status = WritePng(poster_path(), sheet_->Poster());
  if (status.ok()) status = WritePng(sheet_path(), sheet_->Sheet());
  if (status.ok()) status = writer_->Finish();
  if (status.ok()) return status;
  writer_.reset();
  std::error_code ignored;
  std::filesystem::remove(poster_path(), ignored);
  std::filesystem::remove(sheet_path(), ignored);
  return status;
}

}  // namespace ovi
