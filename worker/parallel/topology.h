// How the ranks of a group share one video: a grid of cfg x sp, with the weights on every rank or sharded
// (fsdp). Pure.
//
//   cfg 2   the positive and the negative pass of guidance on a half of the ranks each; one exchange of
//           predictions a step, so it goes first where there are two passes and the ranks can be halved
//   sp      the video's tokens sharded within a half (or the whole); attention heads are exchanged for tokens
//   fsdp    every rank holds 1 / world_size of the weights and sends it to the others when it is its turn
//
// Ranks of one sp group follow each other (rank = cfg_index * sp + sp_index): neighbours share the fast link,
// and sp sends a thousand times what cfg does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/job/job_spec.h"

namespace ovi {

struct TopologyRequest {
  int world_size = 1;
  GpuRequest gpus;         // of the job; gpu_count is 0 or the world's size. kAuto counts as multi
  int heads = 0;           // of the video attention
  bool two_passes = true;  // false where guidance is 1
  // How fast each rank is (shards.h). Empty = all alike.
  std::vector<int> shares;
};

struct Topology {
  int world_size = 1;
  int cfg = 1;  // 1 or 2
  int sp = 1;
  bool fsdp = false;
  std::string reason;  // one line, for logs and `plan`

  // The first so many ranks compute the passes. All of them, but for fsdp over an awkward number of ranks.
  int computing_ranks() const { return cfg * sp; }
};

// INVALID_ARGUMENT for ranks that do not match the job's gpu_allocation, shares that are no shares, and where
// the heads cannot be divided; the last names the numbers of ranks that would work.
//
// Every number of ranks is legal with fsdp, since memory is what it is asked for. Where the heads cannot be
// divided among all ranks (3 ranks and 8 heads), the most ranks that make a legal grid compute (cfg 2 x sp 1
// here), and the others are spare: they hold their part of the weights, send it when it is its turn, and
// decode their rows of the picture, but compute no pass. They would only compute what another rank computes.
//
// Unequal shares: heads are divided by them, so sp need not divide their number, but every rank must get one;
// cfg 2 only where both halves are equally fast, since each waits for the other once a step.
absl::StatusOr<Topology> ChooseTopology(const TopologyRequest& request);

// The numbers of equally fast ranks, up to kGpuCountMax and ascending, that can share a video without fsdp.
std::vector<int> LegalWorldSizes(int heads, bool two_passes);

struct RankPlace {
  int cfg_index = 0;  // 0 computes the positive pass (with cfg 1, all there are), 1 the negative one
  int sp_index = 0;
  std::vector<int> sp_group;    // ranks, ascending, this one included
  std::optional<int> cfg_peer;  // the rank with the same tokens of the other pass; none with cfg 1
};

// None for a spare rank.
std::optional<RankPlace> PlaceOf(const Topology& topology, int rank);

}  // namespace ovi
