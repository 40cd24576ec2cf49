// Where a job runs: gangs of GPUs on one node, by free bytes. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/state.h"

namespace ovi::core {

struct Placement {
  std::string node;
  std::vector<int> gpu_indices;     // rank i on the i-th
  std::int64_t bytes_per_rank = 0;  // of the group; never less than the request needs
  VramMode vram_mode = VramMode::kStandard;
  GroupId warm_group;            // "" = a new group
  std::vector<GroupId> evicted;  // idle groups that must end first; empty with a warm group
};

// Bytes of GPU `index` of a node that our groups were given.
std::int64_t BytesReserved(const State& state, const std::string& node, int index);

// Bytes of GPU `index` that nobody has: total - foreign - reserved by groups. Never negative.
std::int64_t BytesFree(const State& state, const Node& node, int index);

// Best placement for `request` now, or nothing. A warm group of the same model with enough bytes and the
// right number of ranks goes first; else the most constrained GPUs that fit (best fit: the least bytes left
// over), on a READY node not in `avoid`. Where policy lets one group alone on a GPU, a new one is given what
// is free on all of its GPUs, as far as the request has a use for it (MemoryNeed), not only what it needs.
// kAuto takes what the guide says for the GPUs of that node that are free and large enough: 1 -> single, 2-3
// -> multi_2, 4+ -> multi_4, as far as the model can be divided among so many ranks. kFsdp without a number
// takes as many GPUs of one node as are free and large enough for the share that each then holds, two at
// least.
//
// The vram_mode auto is settled before that: the best mode (kModesByQuality) in which some node could run
// the request, with any of its numbers of ranks, if none of our own groups were there. A job waits for other
// jobs, however long, rather than take a lower mode: what it comes out like depends on the cluster, not on
// who is ahead. It does not wait for what is not ours to end: memory that others have, faulty GPUs, nodes
// that are drained, to be avoided or given up for lost (reconnect_ms_max).
std::optional<Placement> Place(const State& state, const JobRequest& request,
                               const std::set<std::string>& avoid);

// One way to run a job, for PlanJob.
struct Option {
  int world_size = 0;
  VramMode vram_mode = VramMode::kStandard;  // the request's; of auto the one it would get with so many ranks
  std::int64_t bytes_per_rank = 0;           // needed; 0 where no node can run the model with so many ranks
  bool fits_now = false;
  bool fits_ever = false;
  std::string node;              // where it would go now, or could ever
  std::vector<int> gpu_indices;  // when fits_now
  std::string reason;            // one line
};

// All numbers of ranks that the request allows, the one Place would take first; of auto, those that have only
// another mode than Place would choose come after the others. Empty when no node known has the model.
std::vector<Option> Options(const State& state, const JobRequest& request);

// OK when some node known, also a lost or drained one, could hold the request with all its GPUs free in one
// of the modes that it allows, or when no node is known at all. FAILED_PRECONDITION else: no node has the
// model; it cannot be divided among so many ranks; or "needs 2 GPUs with 22.4 MiB each on one node; the most
// there are: 1 on box-1; single or ultra_low would fit".
absl::Status CheckFitsEver(const State& state, const JobRequest& request);

// Why a pending job does not run, in one line for the user: "waits for 2 GPUs with 15 MiB free (largest free:
// 1 on box-1)", with what became of its last attempt in front.
std::string PendingReason(const State& state, const Job& job);

}  // namespace ovi::core
