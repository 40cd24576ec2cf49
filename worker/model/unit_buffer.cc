#include "worker/model/unit_buffer.h"

#include "base/status.h"

namespace ovi {

absl::StatusOr<std::map<FusionPiece, std::int64_t>> MeasureUnits(const Runtime& runtime,
                                                                 const FusionConfig& config,
                                                                 const WeightSource& source,
                                                                 NumberFormat format) {
  std::map<FusionPiece, std::int64_t> bytes;
  ParamLoader loader(runtime, source, format);
  loader.FillOnly(nullptr, nullptr);
  for (const FusionUnit unit : FusionUnits(config)) {
    if (bytes.contains(unit.piece)) continue;
    ArenaScope scope(runtime.arena);
    const std::int64_t before = runtime.arena.bytes_in_use();
    FusionParams params;
    OVI_RETURN_IF_ERROR(LoadFusionUnit(loader, config, unit, params));
    bytes[unit.piece] = runtime.arena.bytes_in_use() - before;
  }
  return bytes;
}

absl::Status LayOutUnit(const Runtime& runtime, const FusionConfig& config, const WeightSource& source,
                        NumberFormat format, FusionUnit unit, const Tensor& room,
                        std::optional<UnitRange> range, FusionParams& params) {
  Arena arena(BlockIn(room));
  ParamLoader loader({runtime.backend, runtime.stream, arena}, source, format);
  // In a plan it fills nothing as it is, and must not begin to: there is nothing to read.
  if (runtime.backend.ReadsUploads()) {
    loader.FillOnly(range ? room.data + range->begin : nullptr, range ? room.data + range->end : nullptr);
  }
  return LoadFusionUnit(loader, config, unit, params);
}

absl::StatusOr<UnitBuffer> UnitBuffer::Make(const Runtime& runtime, const FusionConfig& config,
                                            const WeightSource& source, NumberFormat format,
                                            const std::map<FusionPiece, std::int64_t>& unit_bytes,
                                            std::int64_t bytes) {
  UnitBuffer buffer;
  const ArenaUse use(runtime.arena, MemoryUse::kWeightBuffers);
  OVI_ASSIGN_OR_RETURN(buffer.room_, runtime.arena.Allocate(DType::kU8, {bytes}, "room for a weight unit"));
  for (const FusionUnit unit : FusionUnits(config)) {
    if (buffer.params_.contains(unit.piece) || unit_bytes.at(unit.piece) > bytes) continue;
    OVI_RETURN_IF_ERROR(LayOutUnit(runtime, config, source, format, unit, buffer.room_, std::nullopt,
                                   buffer.params_[unit.piece]));
  }
  return buffer;
}

}  // namespace ovi
