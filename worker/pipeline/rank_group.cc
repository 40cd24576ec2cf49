#include "worker/pipeline/rank_group.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace ovi {

absl::StatusOr<std::unique_ptr<RankGroup>> RankGroup::Make(Communicator& world, const Topology& topology,
                                                           std::vector<int> shares) {
  const auto ranks = static_cast<std::size_t>(world.size());
  if (shares.empty()) shares.assign(ranks, 1);
  OVI_CHECK(topology.world_size == world.size() && shares.size() == ranks);
  auto group = std::unique_ptr<RankGroup>(new RankGroup(world, topology, std::move(shares)));
  group->place_ = PlaceOf(topology, world.rank());
  if (!group->place_) return group;
  const RankPlace& place = *group->place_;
  if (topology.sp > 1) {
    OVI_ASSIGN_OR_RETURN(group->sequence_, world.Split(place.sp_group));
  }
  if (place.cfg_peer) {
    std::array<int, 2> pair{world.rank(), *place.cfg_peer};
    std::sort(pair.begin(), pair.end());
    OVI_ASSIGN_OR_RETURN(group->guidance_, world.Split(pair));
  }
  return group;
}

std::vector<int> RankGroup::sequence_shares() const {
  std::vector<int> shares;
  for (const int rank : place_->sp_group) shares.push_back(shares_[static_cast<std::size_t>(rank)]);
  return shares;
}

std::vector<Communicator*> RankGroup::communicators() {
  std::vector<Communicator*> all;
  for (Communicator* communicator : {sequence_.get(), guidance_.get(), &world_}) {
    if (communicator != nullptr) all.push_back(communicator);
  }
  return all;
}

absl::Status RankGroup::FromLeader(std::vector<float>& values) {
  count_ = static_cast<std::int64_t>(values.size());
  OVI_RETURN_IF_ERROR(world_.Broadcast(nullptr, 0, std::as_writable_bytes(std::span(&count_, 1))).Wait());
  if (leads()) {
    broadcast_ = values;
  } else {
    broadcast_.resize(static_cast<std::size_t>(count_));
  }
  OVI_RETURN_IF_ERROR(world_.Broadcast(nullptr, 0, std::as_writable_bytes(std::span(broadcast_))).Wait());
  if (!leads()) values = broadcast_;
  return absl::OkStatus();
}

absl::Status RankGroup::ExchangePasses(std::span<const float> mine, WireFormat format,
                                       std::span<float> other) {
  OVI_CHECK(guidance_ != nullptr && mine.size() == other.size());
  const int peer = 1 - guidance_->rank();
  const auto exchange = [&](auto& buffers) {
    buffers[0].resize(mine.size());
    buffers[1].resize(mine.size());
    using Value = typename std::remove_reference_t<decltype(buffers[0])>::value_type;
    if constexpr (std::is_same_v<Value, float>) {
      std::copy(mine.begin(), mine.end(), buffers[0].begin());
    } else {
      std::transform(mine.begin(), mine.end(), buffers[0].begin(), [](float x) { return ToBFloat16(x); });
    }
    const Outgoing send{peer, std::as_bytes(std::span(buffers[0]))};
    const Incoming receive{peer, std::as_writable_bytes(std::span(buffers[1]))};
    return guidance_->SendReceive(nullptr, {&send, 1}, {&receive, 1}).Wait();
  };
  if (format == WireFormat::kF32) {
    OVI_RETURN_IF_ERROR(exchange(floats_));
    std::copy(floats_[1].begin(), floats_[1].end(), other.begin());
  } else {
    OVI_RETURN_IF_ERROR(exchange(bfloats_));
    std::transform(bfloats_[1].begin(), bfloats_[1].end(), other.begin(),
                   [](BFloat16 x) { return ToFloat(x); });
  }
  return absl::OkStatus();
}

}  // namespace ovi
