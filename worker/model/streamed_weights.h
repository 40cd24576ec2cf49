// The transformer's weights on the host, but for some units that stay on the device: each of the others comes
// into one of two buffers while the one before it is used.
//
// The host keeps units in the layout of the device, so that bringing one in is a copy and nothing else, which
// a thread of its own does. Where it keeps them is the caller's business (UnitShelf): one mapped file serves
// all ranks of a node (worker/pipeline/unit_folder.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/fusion_weights.h"

namespace ovi {

// Units on the host.
class UnitShelf {
 public:
  struct Item {
    FusionUnit unit;
    std::int64_t bytes = 0;
  };
  // Writes an item's bytes to `to`. Returns the source's or the device's error.
  using Fill = std::function<absl::Status(FusionUnit unit, std::span<std::byte> to)>;

  virtual ~UnitShelf() = default;
  // Makes the items available; asks `fill` for those that are not there yet, one after the other.
  virtual absl::Status Stock(std::span<const Item> items, const Fill& fill) = 0;
  // Of an item that was stocked. Valid as long as the shelf is.
  virtual std::span<const std::byte> Bytes(FusionUnit unit) const = 0;
};

// Where each unit is, for a number of bytes.
struct StreamingPlan {
  std::vector<FusionUnit> resident, streamed;  // in the order of FusionUnits
  std::int64_t buffer_bytes = 0;               // of each of the two buffers; 0 where nothing is streamed
  std::int64_t device_bytes = 0;               // of the resident units and both buffers
  std::int64_t host_bytes = 0;                 // of the streamed units
};

// Keeps as much as `device_bytes_max` allows, and first what helps most: the audio patch, whose copies are
// long and have little computing to hide behind, then what else is outside the blocks, then block pairs
// spread over the network, so that a streamed one has time to come. With less than two buffers take,
// nothing but them is planned. Pure.
StreamingPlan PlanStreaming(const FusionConfig& config, const std::map<FusionPiece, std::int64_t>& unit_bytes,
                            std::int64_t device_bytes_max);

// `shelf` is stocked with what is streamed. `check` is asked before each unit; its error is returned.
absl::StatusOr<std::unique_ptr<FusionWeights>> LoadStreamedWeights(
    const Runtime& runtime, const FusionConfig& config, const WeightSource& source, NumberFormat format,
    std::int64_t device_bytes_max, std::unique_ptr<UnitShelf> shelf,
    const std::function<absl::Status()>& check);

}  // namespace ovi
