#include "worker/parallel/topology.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"
#include "worker/parallel/shards.h"

namespace ovi {
namespace {

struct Grid {
  int cfg = 1;
  int sp = 1;
};

int Sum(std::span<const int> shares) {
  return std::accumulate(shares.begin(), shares.end(), 0);
}

// The grid of ranks as fast as `shares`, or why there is none.
absl::StatusOr<Grid> GridOf(std::span<const int> shares, int heads, bool two_passes) {
  const std::size_t half = shares.size() / 2;
  const bool halved =
      two_passes && shares.size() % 2 == 0 && Sum(shares.first(half)) == Sum(shares.last(half));
  const Grid grid{.cfg = halved ? 2 : 1, .sp = static_cast<int>(halved ? half : shares.size())};
  const std::size_t sp = static_cast<std::size_t>(grid.sp);
  for (int group = 0; group < grid.cfg; ++group) {
    OVI_RETURN_IF_ERROR(ShardHeads(heads, shares.subspan(static_cast<std::size_t>(group) * sp, sp)).status());
  }
  return grid;
}

std::string GridName(const Grid& grid) {
  return grid.cfg > 1 ? absl::StrCat("cfg ", grid.cfg, " x sp ", grid.sp) : absl::StrCat("sp ", grid.sp);
}

std::string WhyThisGrid(const Grid& grid, bool two_passes) {
  if (grid.cfg == 2) return "a pass of guidance on each half";
  if (grid.sp == 1) return "one rank computes";
  if (!two_passes) return "guidance is 1, so there is one pass";
  return grid.sp % 2 == 0 ? "the halves are not equally fast" : "an odd number of ranks has no halves";
}

absl::Status CheckRequest(const TopologyRequest& request) {
  const int ranks = request.world_size;
  if (ranks < 1 || ranks > kGpuCountMax) {
    return absl::InvalidArgumentError(absl::StrCat("world_size: must be 1..", kGpuCountMax, ", got ", ranks));
  }
  if (request.heads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("heads: must be at least 1, got ", request.heads));
  }
  const int asked = request.gpus.allocation == GpuAllocation::kSingle ? 1 : request.gpus.gpu_count;
  if (asked != 0 && asked != ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_allocation: ", ToString(request.gpus), " on a group of ", ranks, " ranks"));
  }
  if (!request.shares.empty() && request.shares.size() != static_cast<std::size_t>(ranks)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shares: ", request.shares.size(), " of them for ", ranks, " ranks"));
  }
  for (const int share : request.shares) {
    if (share >= 1 && share <= kShareMax) continue;
    return absl::InvalidArgumentError(absl::StrCat("shares: must be 1..", kShareMax, ", got ", share));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Topology> ChooseTopology(const TopologyRequest& request) {
  OVI_RETURN_IF_ERROR(CheckRequest(request));
  const std::vector<int> shares = request.shares.empty()
                                      ? std::vector<int>(static_cast<std::size_t>(request.world_size), 1)
                                      : request.shares;
  const bool fsdp = request.gpus.allocation == GpuAllocation::kFsdp && request.world_size > 1;

  const absl::StatusOr<Grid> whole = GridOf(shares, request.heads, request.two_passes);
  if (!whole.ok() && !fsdp) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu_allocation: ", request.world_size, " ranks cannot share this video: ", whole.status().message(),
        "; numbers of equally fast ranks that can: ",
        absl::StrJoin(LegalWorldSizes(request.heads, request.two_passes), ", "), "; fsdp takes any number"));
  }
  absl::StatusOr<Grid> grid = whole;
  // One rank always makes a grid.
  for (std::size_t ranks = shares.size() - 1; !grid.ok(); --ranks) {
    grid = GridOf(std::span(shares).first(ranks), request.heads, request.two_passes);
  }

  Topology topology{
      .world_size = request.world_size, .cfg = grid->cfg, .sp = grid->sp, .fsdp = fsdp, .reason = ""};
  topology.reason =
      absl::StrCat(GridName(*grid), fsdp ? " + fsdp" : "", ": ", WhyThisGrid(*grid, request.two_passes));
  if (!whole.ok()) {
    absl::StrAppend(&topology.reason, "; ", request.world_size - topology.computing_ranks(), " of ",
                    request.world_size, " ranks only hold weights, since ", whole.status().message());
  }
  return topology;
}

std::vector<int> LegalWorldSizes(int heads, bool two_passes) {
  std::vector<int> sizes;
  for (int ranks = 1; ranks <= kGpuCountMax; ++ranks) {
    const std::vector<int> shares(static_cast<std::size_t>(ranks), 1);
    if (GridOf(shares, heads, two_passes).ok()) sizes.push_back(ranks);
  }
  return sizes;
}

std::optional<RankPlace> PlaceOf(const Topology& topology, int rank) {
  OVI_CHECK(rank >= 0 && rank < topology.world_size);
  if (rank >= topology.computing_ranks()) return std::nullopt;
  RankPlace place{.cfg_index = rank / topology.sp, .sp_index = rank % topology.sp};
  place.sp_group.resize(static_cast<std::size_t>(topology.sp));
  std::iota(place.sp_group.begin(), place.sp_group.end(), place.cfg_index * topology.sp);
  if (topology.cfg == 2) place.cfg_peer = (rank + topology.sp) % topology.computing_ranks();
  return place;
}

}  // namespace ovi
