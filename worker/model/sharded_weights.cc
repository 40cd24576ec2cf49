#include "worker/model/sharded_weights.h"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/model/unit_buffer.h"

namespace ovi {
namespace {

class ShardedWeights final : public FusionWeights {
 public:
  ShardedWeights(const Runtime& runtime, const FusionConfig& config, Communicator& ranks,
                 std::vector<int> shares)
      : runtime_(runtime), config_(config), ranks_(ranks), shares_(std::move(shares)) {}

  absl::Status Load(const WeightSource& source, NumberFormat format,
                    const std::function<absl::Status()>& check) {
    OVI_RETURN_IF_ERROR(CheckFusionSource(config_, source));
    OVI_RETURN_IF_ERROR(CheckLayouts());
    OVI_RETURN_IF_ERROR(Measure(source, format));
    for (const FusionUnit unit : FusionUnits(config_)) {
      OVI_RETURN_IF_ERROR(check());
      OVI_RETURN_IF_ERROR(LoadShare(source, format, unit));
    }
    return runtime_.stream.Sync();
  }

  absl::StatusOr<const FusionParams*> Use(FusionUnit unit, std::optional<FusionUnit> next) override {
    std::size_t at = 1 - active_;
    if (slots_[active_].unit == unit) {
      at = active_;
    } else if (slots_[at].unit != unit) {
      OVI_RETURN_IF_ERROR(Gather(unit, slots_[at]));
    }
    Slot& slot = slots_[at];
    const absl::Status arrived = slot.pending.Wait();
    if (!arrived.ok()) {
      slot.unit.reset();
      return arrived;
    }
    active_ = at;
    if (next && slots_[1 - at].unit != next) OVI_RETURN_IF_ERROR(Gather(*next, slots_[1 - at]));
    return &slot.buffer.params(unit.piece);
  }

 private:
  struct Slot {
    UnitBuffer buffer;
    std::optional<FusionUnit> unit;  // what is in it, or on its way
    Pending pending;
  };
  struct Share {
    FusionUnit unit;
    Tensor bytes;  // this rank's
  };

  const ShardRange& OwnRange(const std::vector<ShardRange>& ranges) const {
    return ranges[static_cast<std::size_t>(ranks_.rank())];
  }

  // A byte means the same on all ranks only where their backends lay weights out alike. The name goes through
  // device memory, which is still there when a broadcast that failed is settled.
  absl::Status CheckLayouts() {
    const std::string mine = runtime_.backend.WeightLayout();
    std::string roots = mine;
    roots.resize(kLayoutNameBytes, ' ');
    ArenaScope scope(runtime_.arena);
    OVI_ASSIGN_OR_RETURN(const Tensor name,
                         runtime_.arena.Allocate(DType::kU8, {std::ssize(roots)}, "name of a layout"));
    runtime_.stream.Upload(name, HostTensor{roots.data(), DType::kU8, name.shape});
    OVI_RETURN_IF_ERROR(ranks_.Broadcast(&runtime_.stream, 0, BytesOf(name)).Wait());
    runtime_.stream.Download(roots.data(), name);
    OVI_RETURN_IF_ERROR(runtime_.stream.Sync());
    roots.erase(roots.find_last_not_of(' ') + 1);
    if (roots == mine) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("gpu_allocation: fsdp needs devices that lay weights out alike: rank 0 has ", roots,
                     ", rank ", ranks_.rank(), " has ", mine));
  }

  // Sizes the units, and makes the two buffers with the parameters that point into them.
  absl::Status Measure(const WeightSource& source, NumberFormat format) {
    OVI_ASSIGN_OR_RETURN(bytes_, MeasureUnits(runtime_, config_, source, format));
    std::int64_t largest = 0;
    for (const auto& [piece, bytes] : bytes_) largest = std::max(largest, bytes);
    for (Slot& slot : slots_) {
      OVI_ASSIGN_OR_RETURN(slot.buffer, UnitBuffer::Make(runtime_, config_, source, format, bytes_, largest));
    }
    return absl::OkStatus();
  }

  // By way of the first buffer, whose parts outside the rank's share stay as they are.
  absl::Status LoadShare(const WeightSource& source, NumberFormat format, FusionUnit unit) {
    const ShardRange range = OwnRange(UnitShares(bytes_[unit.piece], shares_));
    const Tensor& room = slots_[0].buffer.room();
    FusionParams params;
    OVI_RETURN_IF_ERROR(
        LayOutUnit(runtime_, config_, source, format, unit, room, UnitRange{range.begin, range.end}, params));
    Share share{.unit = unit, .bytes = {}};
    const ArenaUse use(runtime_.arena, MemoryUse::kWeights);
    OVI_ASSIGN_OR_RETURN(share.bytes,
                         runtime_.arena.Allocate(DType::kU8, {range.size()}, "share of the weights"));
    runtime_.stream.Copy(share.bytes, room.Slice(range.begin, range.size()));
    shares_held_.push_back(share);
    return absl::OkStatus();
  }

  absl::Status Gather(FusionUnit unit, Slot& slot) {
    const auto held = std::find_if(shares_held_.begin(), shares_held_.end(),
                                   [&](const Share& share) { return share.unit == unit; });
    OVI_CHECK(held != shares_held_.end());
    std::vector<std::span<std::byte>> parts;
    for (const ShardRange& range : UnitShares(bytes_[unit.piece], shares_)) {
      parts.push_back(BytesOf(slot.buffer.room().Slice(range.begin, range.size())));
    }
    slot.unit = unit;
    slot.pending = ranks_.AllGatherV(&runtime_.stream, BytesOf(held->bytes), parts);
    return absl::OkStatus();
  }

  static constexpr std::size_t kLayoutNameBytes = 128;

  Runtime runtime_;
  FusionConfig config_;
  Communicator& ranks_;
  std::vector<int> shares_;
  std::map<FusionPiece, std::int64_t> bytes_;  // of a unit
  std::array<Slot, 2> slots_;
  std::size_t active_ = 0;  // the slot of the last Use
  std::vector<Share> shares_held_;
};

}  // namespace

std::vector<ShardRange> UnitShares(std::int64_t bytes, std::span<const int> shares) {
  OVI_CHECK(bytes % Arena::kAlignment == 0);
  std::vector<ShardRange> ranges = Shard(bytes / Arena::kAlignment, shares);
  for (ShardRange& range : ranges) {
    range = {range.begin * Arena::kAlignment, range.end * Arena::kAlignment};
  }
  return ranges;
}

absl::StatusOr<std::unique_ptr<FusionWeights>> LoadShardedWeights(
    const Runtime& runtime, const FusionConfig& config, const WeightSource& source, NumberFormat format,
    Communicator& ranks, std::vector<int> shares, const std::function<absl::Status()>& check) {
  OVI_CHECK(shares.size() == static_cast<std::size_t>(ranks.size()));
  auto weights = std::make_unique<ShardedWeights>(runtime, config, ranks, std::move(shares));
  OVI_RETURN_IF_ERROR(weights->Load(source, format, check));
  return weights;
}

}  // namespace ovi
