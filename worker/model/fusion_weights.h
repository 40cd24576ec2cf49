// The transformer's weights in the units in which they are used, one after the other, in every pass. Where
// they are between their uses is a store's business: all of them resident (here), or with each rank a share
// (sharded_weights.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/fusion_params.h"
#include "worker/model/runtime.h"

namespace ovi {

// One unit, of both towers. kEntry: time embeddings, patch embeddings but for the audio tower's three large
// convolutions, which are units of their own (1.06 of the real model's 1.42 GB outside the blocks).
enum class FusionPiece { kText, kEntry, kAudioPatchW1, kAudioPatchW3, kAudioPatchW2, kBlockPair, kHead };

struct FusionUnit {
  FusionPiece piece = FusionPiece::kText;
  std::int64_t block = 0;  // kBlockPair

  bool operator==(const FusionUnit&) const = default;
};

// Device parameters; those of one unit, or of all but the blocks.
struct FusionParams {
  TowerParams video, audio;
  BlockParams video_block, audio_block;
};

// Every unit, each once: text, entry, the audio patch, the blocks, head.
std::vector<FusionUnit> FusionUnits(const FusionConfig& config);
// What a pass uses, in its order: all but the text.
std::vector<FusionUnit> FusionPassUnits(const FusionConfig& config);
// What preparing prompts uses: the text, and the blocks' keys and values of it.
std::vector<FusionUnit> FusionTextUnits(const FusionConfig& config);

std::string ToString(FusionUnit unit);  // "block pair 12", for errors

// Allocates and fills the parameters of one unit, in an order that depends on the configuration alone.
absl::Status LoadFusionUnit(ParamLoader& loader, const FusionConfig& config, FusionUnit unit,
                            FusionParams& params);

// Thread-compatible.
class FusionWeights {
 public:
  virtual ~FusionWeights() = default;

  // The parameters of `unit`, until the next Use. `next` is what will be used after it, so that it can be
  // under way meanwhile; nothing when that is not known. Where ranks share the weights, all of them make the
  // same calls in the same order.
  virtual absl::StatusOr<const FusionParams*> Use(FusionUnit unit, std::optional<FusionUnit> next) = 0;
};

// INVALID_ARGUMENT when the configuration makes no transformer, or `source` is not one of it.
absl::Status CheckFusionSource(const FusionConfig& config, const WeightSource& source);

// All of them in the runtime's arena. `check` is asked before each unit; its error is returned.
absl::StatusOr<std::unique_ptr<FusionWeights>> LoadResidentWeights(
    const Runtime& runtime, const FusionConfig& config, const WeightSource& source, NumberFormat format,
    const std::function<absl::Status()>& check);

// Walks over units: Next() is the parameters of the next one, with the one after it announced.
class FusionWalk {
 public:
  FusionWalk(FusionWeights& weights, std::vector<FusionUnit> units)
      : weights_(weights), units_(std::move(units)) {}

  absl::StatusOr<const FusionParams*> Next();
  bool done() const { return at_ == units_.size(); }

 private:
  FusionWeights& weights_;
  const std::vector<FusionUnit> units_;
  std::size_t at_ = 0;
};

}  // namespace ovi
