#include "coordinator/core/inventory.h"

#include <algorithm>
#include <string_view>
#include <tuple>

namespace ovi::core {
namespace {

bool IsHeld(const HeldGpus* held, const std::string& node, int index) {
  return held != nullptr && held->contains({node, index});
}

bool MayGiveWay(const Group& group, GiveWay give_way) {
  if (give_way == GiveWay::kEverybody) return true;
  return give_way == GiveWay::kStoppingAndIdle && group.state == GroupState::kIdle;
}

// By its rank on that GPU.
std::int64_t BytesTakenBy(const Group& group, const GpuFacts& gpu) {
  return group.bytes_per_rank + gpu.bytes_driver;
}

// A GPU that can hold one more rank, once `evicted` are gone.
struct Candidate {
  int index = 0;
  std::int64_t bytes_left = 0;
  std::vector<GroupId> evicted;
  int working = 0;  // of the evicted, those that are not idle
};

// Groups that are about to end are gone for every search but kNobody. Of the others idle ones go first, of
// those the longest without work, and no more of them than needed.
std::optional<Candidate> Consider(const GpuBooks& gpu, std::int64_t bytes, int groups_max, GiveWay give_way) {
  Candidate out{.index = gpu.facts->index, .bytes_left = gpu.bytes_free - bytes};
  auto group_count = static_cast<int>(gpu.groups.size());
  std::vector<const Group*> evictable;
  for (const Group* group : gpu.groups) {
    if (give_way != GiveWay::kNobody && gpu.leaving.contains(group->id)) {
      out.bytes_left += BytesTakenBy(*group, *gpu.facts);
      --group_count;
    } else if (MayGiveWay(*group, give_way)) {
      evictable.push_back(group);
    }
  }
  const auto order = [](const Group* group) {
    return std::tuple(group->state != GroupState::kIdle, group->changed_at, std::string_view(group->id));
  };
  std::sort(evictable.begin(), evictable.end(),
            [&order](const Group* a, const Group* b) { return order(a) < order(b); });
  for (const Group* group : evictable) {
    if (out.bytes_left >= 0 && group_count < groups_max) break;
    out.bytes_left += BytesTakenBy(*group, *gpu.facts);
    --group_count;
    out.evicted.push_back(group->id);
    if (group->state != GroupState::kIdle) ++out.working;
  }
  if (out.bytes_left < 0 || group_count >= groups_max) return std::nullopt;
  return out;
}

// What one node offers, and how good that is: fewest GPUs with work, fewest groups to end, least memory left
// over, then the node with fewest GPUs that would do, so that those with many stay free for gangs.
struct Offer {
  Placement placement;
  std::tuple<int, std::size_t, std::int64_t, std::size_t> cost;
};

// What each rank needs, and beyond which it has no use for more.
struct RankBytes {
  std::int64_t needed = 0;
  std::int64_t useful = 0;
};

// What each rank gets. Nobody else will come to a GPU that is one group's alone, so that group gets what is
// left there too, as far as its job has a use for it: weights that then need not stream make it faster. All
// ranks get alike, the least of the GPUs, since they plan alike. Chosen are the GPUs by what is needed.
std::int64_t GrantOf(const std::vector<Candidate>& chosen, const RankBytes& bytes, int groups_max) {
  if (groups_max > 1) return bytes.needed;
  std::int64_t grant = bytes.useful;
  for (const Candidate& gpu : chosen) {
    grant = std::min(grant, bytes.needed + gpu.bytes_left);
  }
  return grant;
}

std::optional<Offer> OfferOf(const NodeBooks& books, int size, const RankBytes& bytes, int groups_max,
                             const Inventory::Search& search) {
  std::vector<Candidate> candidates;
  for (const GpuBooks& gpu : books.gpus) {
    if (gpu.facts->faulty || IsHeld(search.held, books.node->facts.name, gpu.facts->index)) continue;
    if (auto candidate = Consider(gpu, bytes.needed, groups_max, search.give_way)) {
      candidates.push_back(*std::move(candidate));
    }
  }
  const auto count = static_cast<std::size_t>(size);
  if (candidates.size() < count) return std::nullopt;
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.working, a.evicted.size(), a.bytes_left, a.index) <
           std::tuple(b.working, b.evicted.size(), b.bytes_left, b.index);
  });
  const std::size_t suitable = candidates.size();
  candidates.resize(count);
  Offer offer;
  offer.placement.node = books.node->facts.name;
  offer.placement.bytes_per_rank = GrantOf(candidates, bytes, groups_max);
  std::set<GroupId> evicted;
  std::int64_t bytes_left = 0;
  int working = 0;
  for (const Candidate& candidate : candidates) {
    offer.placement.gpu_indices.push_back(candidate.index);
    evicted.insert(candidate.evicted.begin(), candidate.evicted.end());
    bytes_left += candidate.bytes_left;
    working += candidate.working;
  }
  std::sort(offer.placement.gpu_indices.begin(), offer.placement.gpu_indices.end());
  offer.placement.evicted.assign(evicted.begin(), evicted.end());
  offer.cost = {working, evicted.size(), bytes_left, suitable};
  return offer;
}

}  // namespace

std::vector<int> WorldSizes(const JobRequest& request, int gpu_count_max) {
  switch (request.allocation) {
    case Allocation::kSingle:
      return {1};
    case Allocation::kMulti:
      if (request.gpu_count == 0) return {4, 2};
      break;
    case Allocation::kFsdp:
      if (request.gpu_count == 0) {
        // Two at least, also where no node has them: then the refusal is about two.
        std::vector<int> sizes;
        for (int size = std::max(gpu_count_max, 2); size >= 2; --size) sizes.push_back(size);
        return sizes;
      }
      break;
    case Allocation::kAuto:
      return {4, 2, 1};
  }
  return request.gpu_count > 0 ? std::vector<int>{request.gpu_count} : std::vector<int>{};
}

int GpuCountMax(const State& state) {
  int most = 0;
  for (const auto& [name, node] : state.nodes) {
    most = std::max(most, static_cast<int>(node.facts.gpus.size()));
  }
  return most;
}

const ModelFacts* FindModel(const NodeFacts& node, const std::string& name) {
  const auto found = std::find_if(node.models.begin(), node.models.end(), [&](const ModelFacts& model) {
    return model.name == name && model.problem.empty();
  });
  return found == node.models.end() ? nullptr : &*found;
}

std::vector<VramMode> ModesOf(const JobRequest& request) {
  if (request.reference) return {VramMode::kStandard};  // as the worker: the modes round
  if (request.vram_mode != VramMode::kAuto) return {request.vram_mode};
  if (request.low_rank) return {kModesOfLowRank.begin(), kModesOfLowRank.end()};
  return {kModesByQuality.begin(), kModesByQuality.end()};
}

namespace {

// Null where the node cannot run the request's model so.
const MemoryNeed* FindNeed(const NodeFacts& node, const JobRequest& request, VramMode mode, int size) {
  const ModelFacts* const model = FindModel(node, request.model_name);
  if (model == nullptr) return nullptr;
  // One rank has nobody to share its weights with.
  const bool fsdp = request.allocation == Allocation::kFsdp && size > 1;
  const auto found = std::find_if(model->needs.begin(), model->needs.end(), [&](const MemoryNeed& need) {
    return need.world_size == size && need.fsdp == fsdp && need.vram_mode == mode;
  });
  return found == model->needs.end() ? nullptr : &*found;
}

std::int64_t BytesIn(const MemoryNeed& need, const JobRequest& request) {
  if (request.reference) return need.reference_bytes;
  return request.low_rank && need.low_rank_bytes > 0 ? need.low_rank_bytes : need.as_executed_bytes;
}

}  // namespace

std::int64_t BytesNeeded(const NodeFacts& node, const JobRequest& request, VramMode mode, int size) {
  const MemoryNeed* const need = FindNeed(node, request, mode, size);
  return need == nullptr ? 0 : BytesIn(*need, request);
}

std::int64_t BytesToPlace(const NodeFacts& node, const JobRequest& request, VramMode mode, int size) {
  const std::int64_t bytes = BytesNeeded(node, request, mode, size);
  return request.vram_bytes_max > 0 && bytes > request.vram_bytes_max ? 0 : bytes;
}

std::int64_t BytesUseful(const NodeFacts& node, const JobRequest& request, VramMode mode, int size) {
  const MemoryNeed* const need = FindNeed(node, request, mode, size);
  if (need == nullptr) return 0;
  const std::int64_t bytes = BytesIn(*need, request);
  if (request.reference) return bytes;
  std::int64_t useful = request.low_rank ? need->low_rank_bytes_useful : need->as_executed_bytes_useful;
  if (request.vram_bytes_max > 0) useful = std::min(useful, request.vram_bytes_max);
  return std::max(bytes, useful);
}

std::int64_t BytesForARank(const GpuFacts& gpu) {
  return gpu.bytes_total - gpu.bytes_driver;
}

int GpusLargeEnough(const NodeFacts& node, std::int64_t bytes) {
  return static_cast<int>(std::count_if(node.gpus.begin(), node.gpus.end(), [bytes](const GpuFacts& gpu) {
    return BytesForARank(gpu) >= bytes;
  }));
}

bool CouldEverHold(const NodeFacts& node, const JobRequest& request, VramMode mode, int size) {
  const std::int64_t bytes = BytesToPlace(node, request, mode, size);
  return bytes > 0 && GpusLargeEnough(node, bytes) >= size;
}

bool CouldEverHold(const NodeFacts& node, const JobRequest& request, VramMode mode) {
  const std::vector<int> sizes = WorldSizes(request, static_cast<int>(node.gpus.size()));
  return std::any_of(sizes.begin(), sizes.end(),
                     [&](int size) { return CouldEverHold(node, request, mode, size); });
}

bool CouldEverHold(const NodeFacts& node, const JobRequest& request) {
  const std::vector<VramMode> modes = ModesOf(request);
  return std::any_of(modes.begin(), modes.end(),
                     [&](VramMode mode) { return CouldEverHold(node, request, mode); });
}

bool SomeCouldEverHold(const State& state, const JobRequest& request, VramMode mode, int size) {
  return std::any_of(state.nodes.begin(), state.nodes.end(), [&](const auto& entry) {
    return CouldEverHold(entry.second.facts, request, mode, size);
  });
}

bool SomeCouldEverHold(const State& state, const JobRequest& request) {
  return std::any_of(state.nodes.begin(), state.nodes.end(),
                     [&](const auto& entry) { return CouldEverHold(entry.second.facts, request); });
}

std::int64_t LimitThatFits(const State& state, const JobRequest& request) {
  JobRequest unlimited = request;
  unlimited.vram_bytes_max = 0;
  std::int64_t least = 0;
  for (const auto& [name, node] : state.nodes) {
    for (const int size : WorldSizes(request, static_cast<int>(node.facts.gpus.size()))) {
      for (const VramMode mode : ModesOf(request)) {
        if (!CouldEverHold(node.facts, unlimited, mode, size)) continue;
        const std::int64_t bytes = BytesNeeded(node.facts, request, mode, size);
        if (least == 0 || bytes < least) least = bytes;
      }
    }
  }
  return least;
}

VramMode LeastMode(const State& state, const JobRequest& request, int size) {
  const std::vector<VramMode> modes = ModesOf(request);
  VramMode least = modes.front();
  std::int64_t least_bytes = 0;
  for (const VramMode mode : modes) {
    for (const auto& [name, node] : state.nodes) {
      const std::int64_t bytes = BytesNeeded(node.facts, request, mode, size);
      if (bytes == 0 || (least_bytes > 0 && bytes >= least_bytes)) continue;
      least_bytes = bytes;
      least = mode;
    }
  }
  return least;
}

Inventory::Inventory(const State& state, TimeMs now) : state_(state), gpu_count_max_(GpuCountMax(state)) {
  for (const auto& [name, node] : state.nodes) {
    NodeBooks& books = nodes_[name];
    books.node = &node;
    books.usable = node.connected && !state.drained.contains(name);
    books.stays = !node.given_up && !state.drained.contains(name);
    for (const GpuFacts& gpu : node.facts.gpus) {
      books.gpus.push_back({.facts = &gpu, .bytes_free = BytesForARank(gpu) - gpu.bytes_foreign});
    }
  }
  for (const auto& [id, group] : state.groups) {
    const auto found = nodes_.find(group.node);
    if (found == nodes_.end()) continue;
    const bool leaves =
        group.state == GroupState::kStopping && now - group.changed_at < state.policy.stop_ms_max;
    for (GpuBooks& gpu : found->second.gpus) {
      const auto& indices = group.gpu_indices;
      if (std::find(indices.begin(), indices.end(), gpu.facts->index) == indices.end()) continue;
      gpu.bytes_free -= BytesTakenBy(group, *gpu.facts);
      gpu.groups.push_back(&group);
      if (leaves) gpu.leaving.insert(id);
    }
  }
}

bool CouldHold(const NodeBooks& books, const JobRequest& request, VramMode mode,
               const std::vector<int>& sizes) {
  return std::any_of(sizes.begin(), sizes.end(), [&](int size) {
    const std::int64_t bytes = BytesToPlace(books.node->facts, request, mode, size);
    return bytes > 0 && std::count_if(books.gpus.begin(), books.gpus.end(), [bytes](const GpuBooks& gpu) {
                          const GpuFacts& facts = *gpu.facts;
                          return !facts.faulty && BytesForARank(facts) - facts.bytes_foreign >= bytes;
                        }) >= size;
  });
}

std::optional<VramMode> Inventory::ModeFor(const JobRequest& request, const std::vector<VramMode>& modes,
                                           const std::set<std::string>& avoid) const {
  const std::vector<int> sizes = WorldSizes(request, gpu_count_max_);
  const auto given = std::find_if(modes.begin(), modes.end(), [&](VramMode mode) {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
      const auto& [name, books] = entry;
      return books.stays && !avoid.contains(name) && CouldHold(books, request, mode, sizes);
    });
  });
  return given == modes.end() ? std::nullopt : std::optional(*given);
}

bool Inventory::HasRoom(const HeldGpus& held) const {
  for (const auto& [name, books] : nodes_) {
    if (!books.usable) continue;
    for (const GpuBooks& gpu : books.gpus) {
      if (gpu.facts->faulty || held.contains({name, gpu.facts->index})) continue;
      const auto is_idle = [](const Group* group) { return group->state == GroupState::kIdle; };
      if (std::any_of(gpu.groups.begin(), gpu.groups.end(), is_idle)) return true;
      if (gpu.bytes_free > 0 && static_cast<int>(gpu.groups.size()) < state_.policy.groups_per_gpu_max) {
        return true;
      }
    }
  }
  return false;
}

std::optional<Placement> Inventory::Find(const JobRequest& request, const Search& search) const {
  for (const int size : search.sizes) {
    if (search.give_way == GiveWay::kNobody) {
      if (auto warm = FindWarm(request, size, search)) return warm;
    }
    if (auto fresh = FindNew(request, size, search)) return fresh;
  }
  return std::nullopt;
}

std::optional<Placement> Inventory::FindWarm(const JobRequest& request, int size,
                                             const Search& search) const {
  const Group* best = nullptr;
  for (const auto& [id, group] : state_.groups) {
    if (group.state != GroupState::kIdle || !group.attached || group.model_name != request.model_name ||
        static_cast<int>(group.gpu_indices.size()) != size || search.avoid.contains(group.node)) {
      continue;
    }
    const auto found = nodes_.find(group.node);
    if (found == nodes_.end() || !found->second.usable) continue;
    const NodeFacts& facts = found->second.node->facts;
    const std::int64_t bytes = BytesToPlace(facts, request, search.mode, size);
    if (bytes <= 0 || group.bytes_per_rank < bytes) continue;
    const std::string& node_name = group.node;
    const auto is_out = [&](int index) {
      const bool known = index >= 0 && index < static_cast<int>(facts.gpus.size());
      return !known || facts.gpus[static_cast<std::size_t>(index)].faulty ||
             IsHeld(search.held, node_name, index);
    };
    if (std::any_of(group.gpu_indices.begin(), group.gpu_indices.end(), is_out)) continue;
    if (best == nullptr || group.bytes_per_rank < best->bytes_per_rank) best = &group;
  }
  if (best == nullptr) return std::nullopt;
  return Placement{.node = best->node,
                   .gpu_indices = best->gpu_indices,
                   .bytes_per_rank = best->bytes_per_rank,
                   .vram_mode = search.mode,
                   .warm_group = best->id};
}

std::optional<Placement> Inventory::FindNew(const JobRequest& request, int size, const Search& search) const {
  std::optional<Offer> best;
  for (const auto& [name, books] : nodes_) {
    if (!books.usable || search.avoid.contains(name)) continue;
    const NodeFacts& facts = books.node->facts;
    const RankBytes bytes{.needed = BytesToPlace(facts, request, search.mode, size),
                          .useful = BytesUseful(facts, request, search.mode, size)};
    if (bytes.needed <= 0) continue;
    auto offer = OfferOf(books, size, bytes, state_.policy.groups_per_gpu_max, search);
    if (offer && (!best || offer->cost < best->cost)) best = std::move(offer);
  }
  if (!best) return std::nullopt;
  best->placement.vram_mode = search.mode;
  return std::move(best->placement);
}

}  // namespace ovi::core
