// Free and taken, GPU by GPU: what placement searches. Made from a State in one go, because a search asks for
// every GPU many times. Internal to core.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/placement.h"
#include "coordinator/core/state.h"

namespace ovi::core {

// Which groups a search may imagine gone.
enum class GiveWay { kNobody, kStopping, kStoppingAndIdle, kEverybody };

struct GpuBooks {
  const GpuFacts* facts = nullptr;
  // For one more rank, as they are now, without what the driver takes for it; negative when groups came to
  // light that do not fit.
  std::int64_t bytes_free = 0;
  std::vector<const Group*> groups;
  std::set<GroupId> leaving;  // of these, stopping and about to be gone
};

struct NodeBooks {
  const Node* node = nullptr;
  bool usable = false;  // connected, not drained
  bool stays = false;   // not drained; connected, or away for a moment
  std::vector<GpuBooks> gpus;
};

// Whether the node could hold it, with one of these numbers of ranks, when all our groups there have ended.
bool CouldHold(const NodeBooks& books, const JobRequest& request, VramMode mode,
               const std::vector<int>& sizes);

using HeldGpus = std::set<std::pair<std::string, int>>;  // node, index: kept for a job further ahead

// Refers to the State, which must not change meanwhile.
class Inventory {
 public:
  // `now`, where the caller knows it: a group that should have ended by then does not count as one that is
  // about to.
  explicit Inventory(const State& state, TimeMs now = 0);

  struct Search {
    VramMode mode = VramMode::kStandard;
    std::vector<int> sizes;  // numbers of ranks, the preferred one first
    std::set<std::string> avoid;
    GiveWay give_way = GiveWay::kNobody;
    const HeldGpus* held = nullptr;
  };
  // The best placement for the first of the sizes that has one. With kNobody: warm groups first. Else
  // `evicted` names the groups that must go first, and that are not stopping already.
  std::optional<Placement> Find(const JobRequest& request, const Search& search) const;

  // The mode that `request` is run in (placement.h): the first of `modes` that some node not in `avoid` can
  // hold when all our groups there have ended. Nothing where none can.
  std::optional<VramMode> ModeFor(const JobRequest& request, const std::vector<VramMode>& modes,
                                  const std::set<std::string>& avoid) const;

  // False when nothing can be placed anywhere, whatever the request and whichever idle groups end.
  bool HasRoom(const HeldGpus& held) const;

  const std::map<std::string, NodeBooks>& nodes() const { return nodes_; }
  int gpu_count_max() const { return gpu_count_max_; }  // of one node
  const State& state() const { return state_; }

 private:
  std::optional<Placement> FindWarm(const JobRequest& request, int size, const Search& search) const;
  std::optional<Placement> FindNew(const JobRequest& request, int size, const Search& search) const;

  const State& state_;
  const int gpu_count_max_;
  std::map<std::string, NodeBooks> nodes_;
};

// The most GPUs that one node has.
int GpuCountMax(const State& state);

// Numbers of ranks that the request allows, the preferred one first, where no node has more than
// `gpu_count_max` GPUs. Empty for a request that makes no sense.
std::vector<int> WorldSizes(const JobRequest& request, int gpu_count_max);

// Usable, or nothing.
const ModelFacts* FindModel(const NodeFacts& node, const std::string& name);

// Modes that the request allows, the preferred one first; at least one.
std::vector<VramMode> ModesOf(const JobRequest& request);

// Bytes that each of `size` ranks of `request` needs there in `mode`; 0 when the node cannot run its model
// so.
std::int64_t BytesNeeded(const NodeFacts& node, const JobRequest& request, VramMode mode, int size);

// The same for a place: 0 also where that is more than the request may take (JobRequest::vram_bytes_max).
std::int64_t BytesToPlace(const NodeFacts& node, const JobRequest& request, VramMode mode, int size);

// Beyond which such a rank has no use for more, or may have no more. What is needed, at least.
std::int64_t BytesUseful(const NodeFacts& node, const JobRequest& request, VramMode mode, int size);

// The most that a rank could have of the GPU if nothing else were on it.
std::int64_t BytesForARank(const GpuFacts& gpu);

// GPUs that would do if nothing else were on them.
int GpusLargeEnough(const NodeFacts& node, std::int64_t bytes);
bool CouldEverHold(const NodeFacts& node, const JobRequest& request, VramMode mode, int size);
// With any of the numbers of ranks that it allows, and in any of the modes.
bool CouldEverHold(const NodeFacts& node, const JobRequest& request, VramMode mode);
bool CouldEverHold(const NodeFacts& node, const JobRequest& request);
// Some node that is known.
bool SomeCouldEverHold(const State& state, const JobRequest& request, VramMode mode, int size);
bool SomeCouldEverHold(const State& state, const JobRequest& request);

// The least limit within which some node that is known could hold the request; 0 where there is none.
std::int64_t LimitThatFits(const State& state, const JobRequest& request);

// Of the modes that the request allows, the one that takes least with `size` ranks where there are figures.
VramMode LeastMode(const State& state, const JobRequest& request, int size);

// Why no node could ever hold `request` with `size` ranks in `mode`, in one line. Some node has its model.
std::string WhyNever(const State& state, const JobRequest& request, VramMode mode, int size);

// "2 GPUs with 15.0 MiB"; to the byte where `beside`, another figure of the sentence, would look alike.
std::string GpusWith(int count, std::int64_t bytes, std::int64_t beside = 0);

}  // namespace ovi::core
