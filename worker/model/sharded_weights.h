// The transformer's weights with a share of every unit on each rank (fully sharded data parallel): a unit is
// gathered from all ranks into one of two buffers, while the one before it is used.
//
// A rank holds its share of all bytes and two buffers as large as the largest unit. What is shared out is
// bytes, in the layout of the backend, whatever they mean: so it works with every number format.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/fusion_weights.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/shards.h"

namespace ovi {

// Bytes of each rank of a unit of `bytes`, by the ranks' shares: whole lines of the arena's alignment, of
// which `bytes` is a multiple.
std::vector<ShardRange> UnitShares(std::int64_t bytes, std::span<const int> shares);

// All ranks of `ranks` call it together, with shares for each of them. FAILED_PRECONDITION where their
// backends lay weights out differently. `check` is asked before each unit; its error is returned.
absl::StatusOr<std::unique_ptr<FusionWeights>> LoadShardedWeights(
    const Runtime& runtime, const FusionConfig& config, const WeightSource& source, NumberFormat format,
    Communicator& ranks, std::vector<int> shares, const std::function<absl::Status()>& check);

}  // namespace ovi
