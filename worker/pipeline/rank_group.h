// The ranks that make one clip together, as one of them sees them: who they are, what each computes, and what
// they tell each other on the host.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "worker/parallel/communicator.h"
#include "worker/parallel/topology.h"

namespace ovi {

// How a value travels between ranks: bf16 where it is a bf16 value anyway.
enum class WireFormat { kF32, kBF16 };

// Used by the computing thread. Keeps the memory of what is under way, so after an error it must live until
// the world was settled (communicator.h).
class RankGroup {
 public:
  // Collective. Borrows `world`. `topology` and `shares` (how fast each rank is; empty where all are alike)
  // are the same on all ranks.
  static absl::StatusOr<std::unique_ptr<RankGroup>> Make(Communicator& world, const Topology& topology,
                                                         std::vector<int> shares);

  // The leader encodes, and has the sink.
  bool leads() const { return world_.rank() == 0; }
  Communicator& world() { return world_; }
  const Topology& topology() const { return topology_; }
  const std::vector<int>& shares() const { return shares_; }
  // Nothing for a spare rank (topology.h).
  const std::optional<RankPlace>& place() const { return place_; }

  // Of the ranks that share the video's tokens with this one; null where it has all of them.
  Communicator* sequence() { return sequence_.get(); }
  std::vector<int> sequence_shares() const;

  // Every rank gets the leader's values, whose number only it needs to know.
  absl::Status FromLeader(std::vector<float>& values);
  // Gives the rank with the same tokens of the other pass `mine` and takes as much. Only with cfg 2.
  absl::Status ExchangePasses(std::span<const float> mine, WireFormat format, std::span<float> other);
  bool passes_are_split() const { return guidance_ != nullptr; }

  // All that the group talks through, in an order that is the same on all ranks: to be settled after an
  // error.
  std::vector<Communicator*> communicators();

 private:
  RankGroup(Communicator& world, const Topology& topology, std::vector<int> shares)
      : world_(world), topology_(topology), shares_(std::move(shares)) {}

  Communicator& world_;
  const Topology topology_;
  const std::vector<int> shares_;
  std::optional<RankPlace> place_;
  std::unique_ptr<Communicator> sequence_;
  std::unique_ptr<Communicator> guidance_;
  // Under way.
  std::int64_t count_ = 0;
  std::vector<float> broadcast_;
  std::array<std::vector<float>, 2> floats_;      // out, in
  std::array<std::vector<BFloat16>, 2> bfloats_;  // out, in
};

}  // namespace ovi
