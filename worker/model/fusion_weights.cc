#include "worker/model/fusion_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"

namespace ovi {
namespace {

class ResidentWeights final : public FusionWeights {
 public:
  absl::Status Load(ParamLoader& loader, const FusionConfig& config,
                    const std::function<absl::Status()>& check) {
    for (const FusionUnit unit : FusionUnits(config)) {
      OVI_RETURN_IF_ERROR(check());
      const bool is_block = unit.piece == FusionPiece::kBlockPair;
      OVI_RETURN_IF_ERROR(LoadFusionUnit(loader, config, unit, is_block ? blocks_.emplace_back() : outside_));
    }
    return loader.runtime().stream.Sync();
  }

  absl::StatusOr<const FusionParams*> Use(FusionUnit unit, std::optional<FusionUnit>) override {
    return unit.piece == FusionPiece::kBlockPair ? &blocks_[static_cast<std::size_t>(unit.block)] : &outside_;
  }

 private:
  FusionParams outside_;
  std::vector<FusionParams> blocks_;
};

void AddBlocks(const FusionConfig& config, std::vector<FusionUnit>& units) {
  for (std::int64_t block = 0; block < config.video.layers; ++block) {
    units.push_back({FusionPiece::kBlockPair, block});
  }
}

constexpr const char* kVideo = "video_model";
constexpr const char* kAudio = "audio_model";

}  // namespace

std::vector<FusionUnit> FusionUnits(const FusionConfig& config) {
  std::vector<FusionUnit> units = FusionPassUnits(config);
  units.insert(units.begin(), {FusionPiece::kText});
  return units;
}

std::vector<FusionUnit> FusionPassUnits(const FusionConfig& config) {
  std::vector<FusionUnit> units = {{FusionPiece::kEntry},
                                   {FusionPiece::kAudioPatchW1},
                                   {FusionPiece::kAudioPatchW3},
                                   {FusionPiece::kAudioPatchW2}};
  AddBlocks(config, units);
  units.push_back({FusionPiece::kHead});
  return units;
}

std::vector<FusionUnit> FusionTextUnits(const FusionConfig& config) {
  std::vector<FusionUnit> units = {{FusionPiece::kText}};
  AddBlocks(config, units);
  return units;
}

std::string ToString(FusionUnit unit) {
  switch (unit.piece) {
    case FusionPiece::kText:
      return "text embedding";
    case FusionPiece::kEntry:
      return "time and patch embedding";
    case FusionPiece::kAudioPatchW1:
      return "audio patch w1";
    case FusionPiece::kAudioPatchW3:
      return "audio patch w3";
    case FusionPiece::kAudioPatchW2:
      return "audio patch w2";
    case FusionPiece::kBlockPair:
      return absl::StrCat("block pair ", unit.block);
    case FusionPiece::kHead:
      return "head";
  }
  return "?";
}

absl::Status LoadFusionUnit(ParamLoader& loader, const FusionConfig& config, FusionUnit unit,
                            FusionParams& params) {
  const TowerConfig& video = config.video;
  const TowerConfig& audio = config.audio;
  switch (unit.piece) {
    case FusionPiece::kText:
      OVI_RETURN_IF_ERROR(LoadTextEmbedding(loader, video, kVideo, params.video));
      return LoadTextEmbedding(loader, audio, kAudio, params.audio);
    case FusionPiece::kEntry:
      OVI_RETURN_IF_ERROR(LoadTimeEmbedding(loader, video, kVideo, params.video));
      OVI_RETURN_IF_ERROR(LoadTimeEmbedding(loader, audio, kAudio, params.audio));
      OVI_RETURN_IF_ERROR(LoadVideoPatch(loader, video, kVideo, params.video));
      return LoadAudioPatch(loader, audio, kAudio, AudioPatchLayer::kConv, params.audio);
    case FusionPiece::kAudioPatchW1:
      return LoadAudioPatch(loader, audio, kAudio, AudioPatchLayer::kW1, params.audio);
    case FusionPiece::kAudioPatchW3:
      return LoadAudioPatch(loader, audio, kAudio, AudioPatchLayer::kW3, params.audio);
    case FusionPiece::kAudioPatchW2:
      return LoadAudioPatch(loader, audio, kAudio, AudioPatchLayer::kW2, params.audio);
    case FusionPiece::kBlockPair: {
      OVI_ASSIGN_OR_RETURN(params.video_block, LoadBlock(loader, video, kVideo, unit.block));
      OVI_ASSIGN_OR_RETURN(params.audio_block, LoadBlock(loader, audio, kAudio, unit.block));
      return absl::OkStatus();
    }
    case FusionPiece::kHead:
      OVI_RETURN_IF_ERROR(LoadHead(loader, video, kVideo, params.video));
      return LoadHead(loader, audio, kAudio, params.audio);
  }
  return absl::OkStatus();
}

absl::Status CheckFusionSource(const FusionConfig& config, const WeightSource& source) {
  OVI_RETURN_IF_ERROR(CheckFusionConfig(config));
  return CheckTensors(source, FusionTensors(config));
}

absl::StatusOr<std::unique_ptr<FusionWeights>> LoadResidentWeights(
    const Runtime& runtime, const FusionConfig& config, const WeightSource& source, NumberFormat format,
    const std::function<absl::Status()>& check) {
  OVI_RETURN_IF_ERROR(CheckFusionSource(config, source));
  ParamLoader loader(runtime, source, format);
  auto weights = std::make_unique<ResidentWeights>();
  OVI_RETURN_IF_ERROR(weights->Load(loader, config, check));
  return weights;
}

absl::StatusOr<const FusionParams*> FusionWalk::Next() {
  OVI_CHECK(at_ < units_.size());
  const FusionUnit unit = units_[at_++];
  return weights_.Use(unit, at_ < units_.size() ? std::optional(units_[at_]) : std::nullopt);
}

}  // namespace ovi
