// Device memory for one unit of the transformer's weights at a time, for stores that bring them in as they
// are used.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "absl/status/statusor.h"
#include "worker/model/fusion_weights.h"

namespace ovi {

// Bytes of each kind of unit in the layout of the runtime's backend. Takes nothing of the arena for good.
absl::StatusOr<std::map<FusionPiece, std::int64_t>> MeasureUnits(const Runtime& runtime,
                                                                 const FusionConfig& config,
                                                                 const WeightSource& source,
                                                                 NumberFormat format);

// Which part of a unit's bytes to fill.
struct UnitRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Allocates `unit` from the beginning of `room` (U8) on, and fills what touches `range`: only that is read.
// Nothing is filled without one, and everything outside stays as it is.
absl::Status LayOutUnit(const Runtime& runtime, const FusionConfig& config, const WeightSource& source,
                        NumberFormat format, FusionUnit unit, const Tensor& room,
                        std::optional<UnitRange> range, FusionParams& params);

// The room, with the parameters of every kind of unit that could lie in it.
class UnitBuffer {
 public:
  // `bytes`: of the largest unit it will hold. Only units no larger get parameters.
  static absl::StatusOr<UnitBuffer> Make(const Runtime& runtime, const FusionConfig& config,
                                         const WeightSource& source, NumberFormat format,
                                         const std::map<FusionPiece, std::int64_t>& unit_bytes,
                                         std::int64_t bytes);

  const Tensor& room() const { return room_; }
  const FusionParams& params(FusionPiece piece) const { return params_.at(piece); }

 private:
  Tensor room_;  // U8
  std::map<FusionPiece, FusionParams> params_;
};

}  // namespace ovi
