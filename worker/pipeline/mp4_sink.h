// Writes a clip as MP4 with a poster PNG and a contact sheet beside it: x.mp4, x.png, x_sheet.png.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "worker/media/contact_sheet.h"
#include "worker/media/mp4_writer.h"
#include "worker/pipeline/engine.h"

namespace ovi {

// All three files appear in Finish, or none of them does.
class Mp4Sink final : public ClipSink {
 public:
  // `path` ends in .mp4.
  Mp4Sink(std::string path, std::map<std::string, std::string> metadata);

  absl::Status Begin(const ClipInfo& info, std::span<const float> audio) override;
  absl::Status AddFrames(std::span<const std::uint8_t> rgb) override;
  absl::Status Finish() override;

  const std::string& path() const { return path_; }
  std::string poster_path() const;
  std::string sheet_path() const;

 private:
  std::string path_;
  std::map<std::string, std::string> metadata_;
  std::unique_ptr<Mp4Writer> writer_;
  std::optional<ContactSheetBuilder> sheet_;
};

}  // namespace ovi
