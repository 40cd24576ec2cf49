#include "coordinator/core/placement.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/inventory.h"
#include "coordinator/core/retry.h"

namespace ovi::core {
namespace {

// The option without a look at what is free. bytes_per_rank 0 when no node can run it with so many ranks.
Option OptionEver(const State& state, const JobRequest& request, int size) {
  Option option{.world_size = size};
  for (const auto& [name, node] : state.nodes) {
    const RankNeed need = NeedOf(node.facts, request, size);
    const bool holds = CouldEverHold(node.facts, request, size);
    if (option.bytes_per_rank == 0 || (holds && !option.fits_ever)) {
      option.bytes_per_rank = need.bytes;
      option.vram_mode = need.vram_mode;
    }
    if (option.fits_ever || !holds) continue;
    option.fits_ever = true;
    option.node = name;
  }
  option.reason = option.fits_ever ? absl::StrCat(GpusWith(size, option.bytes_per_rank), " on ", option.node,
                                                  ", but not now")
                                   : WhyNever(state, request, size);
  return option;
}

std::string ReasonFor(const Placement& placement, bool now) {
  if (!placement.warm_group.empty()) {
    return absl::StrCat("warm group ", placement.warm_group, " on ", placement.node);
  }
  const std::string gpus = GpusWith(static_cast<int>(placement.gpu_indices.size()), placement.bytes_per_rank);
  return now ? absl::StrCat(gpus, " free on ", placement.node)
             : absl::StrCat(gpus, " on ", placement.node, ", once idle groups there have ended");
}

}  // namespace

std::int64_t BytesFree(const State& state, const Node& node, int index) {
  const auto& gpus = node.facts.gpus;
  if (index < 0 || index >= static_cast<int>(gpus.size())) return 0;
  const GpuFacts& gpu = gpus[static_cast<std::size_t>(index)];
  std::int64_t bytes = gpu.bytes_total - gpu.bytes_foreign;
  for (const auto& [id, group] : state.groups) {
    if (group.node != node.facts.name) continue;
    if (std::find(group.gpu_indices.begin(), group.gpu_indices.end(), index) != group.gpu_indices.end()) {
      bytes -= group.bytes_per_rank;
    }
  }
  return std::max<std::int64_t>(bytes, 0);
}

std::optional<Placement> Place(const State& state, const JobRequest& request,
                               const std::set<std::string>& avoid) {
  const Inventory inventory(state);
  Inventory::Search search{.sizes = WorldSizes(request, inventory.gpu_count_max()), .avoid = avoid};
  if (auto now = inventory.Find(request, search)) return now;
  search.give_way = GiveWay::kStoppingAndIdle;
  return inventory.Find(request, search);
}

std::vector<Option> Options(const State& state, const JobRequest& request) {
  const bool has_model = std::any_of(state.nodes.begin(), state.nodes.end(), [&](const auto& entry) {
    return FindModel(entry.second.facts, request.model_name) != nullptr;
  });
  if (!has_model) return {};
  const Inventory inventory(state);
  std::vector<std::pair<int, Option>>
      ranked;  // 0: free now, 1: once idle groups have ended, 2: some day, 3: never
  for (const int size : WorldSizes(request, inventory.gpu_count_max())) {
    Option option = OptionEver(state, request, size);
    int rank = option.fits_ever ? 2 : 3;
    Inventory::Search search{.sizes = {size}};
    for (const GiveWay give_way : {GiveWay::kNobody, GiveWay::kStoppingAndIdle}) {
      search.give_way = give_way;
      const auto placement = inventory.Find(request, search);
      if (!placement) continue;
      rank = give_way == GiveWay::kNobody ? 0 : 1;
      option.fits_now = true;
      option.bytes_per_rank = placement->bytes_per_rank;
      option.vram_mode = placement->vram_mode;
      option.node = placement->node;
      option.gpu_indices = placement->gpu_indices;
      option.reason = ReasonFor(*placement, rank == 0);
      break;
    }
    ranked.emplace_back(rank, std::move(option));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Option> options;
  for (auto& [rank, option] : ranked) options.push_back(std::move(option));
  return options;
}

std::set<std::string> AvoidedNodes(const State& state, const Job& job) {
  std::set<std::string> failed;
  for (const Attempt& attempt : job.attempts) {
    // As if it were the first: what matters is the kind of end, not how often.
    if (AfterAttempt(attempt.end, {.all = 0, .out_of_memory = 0}, state.policy) ==
        NextStep::kRetryElsewhere) {
      failed.insert(attempt.node);
    }
  }
  if (failed.empty()) return failed;
  for (const auto& [name, node] : state.nodes) {
    if (!failed.contains(name) && node.connected && !state.drained.contains(name) &&
        CouldEverHold(node.facts, job.request)) {
      return failed;
    }
  }
  return {};
}

}  // namespace ovi::core
