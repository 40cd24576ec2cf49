#include "coordinator/core/placement.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/inventory.h"

namespace ovi::core {
namespace {

// The option without a look at what is free. bytes_per_rank 0 when no node can run it with so many ranks.
Option OptionEver(const State& state, const JobRequest& request, VramMode mode, int size) {
  Option option{.world_size = size, .vram_mode = mode};
  for (const auto& [name, node] : state.nodes) {
    const std::int64_t bytes = BytesNeeded(node.facts, request, mode, size);
    if (option.bytes_per_rank == 0) option.bytes_per_rank = bytes;
    if (option.fits_ever || !CouldEverHold(node.facts, request, mode, size)) continue;
    option.fits_ever = true;
    option.bytes_per_rank = bytes;
    option.node = name;
  }
  option.reason = option.fits_ever ? absl::StrCat(GpusWith(size, option.bytes_per_rank), " on ", option.node,
                                                  ", but not now")
                                   : WhyNever(state, request, mode, size);
  return option;
}

// What an option with so many ranks is in: the mode `chosen` for the request where that fits some day, else
// the best that does, else the one that takes least.
VramMode ModeOfOption(const State& state, const JobRequest& request, std::optional<VramMode> chosen,
                      int size) {
  if (chosen && SomeCouldEverHold(state, request, *chosen, size)) return *chosen;
  for (const VramMode mode : ModesOf(request)) {
    if (SomeCouldEverHold(state, request, mode, size)) return mode;
  }
  return LeastMode(state, request, size);
}

// `bytes`: that each rank needs.
std::string ReasonFor(const Placement& placement, std::int64_t bytes, bool now) {
  if (!placement.warm_group.empty()) {
    return absl::StrCat("warm group ", placement.warm_group, " on ", placement.node);
  }
  const std::string gpus = GpusWith(static_cast<int>(placement.gpu_indices.size()), bytes);
  return now ? absl::StrCat(gpus, " free on ", placement.node)
             : absl::StrCat(gpus, " on ", placement.node, ", once idle groups there have ended");
}

}  // namespace

std::int64_t BytesReserved(const State& state, const std::string& node, int index) {
  std::int64_t bytes = 0;
  for (const auto& [id, group] : state.groups) {
    if (group.node != node) continue;
    bytes += std::count(group.gpu_indices.begin(), group.gpu_indices.end(), index) * group.bytes_per_rank;
  }
  return bytes;
}

std::int64_t BytesFree(const State& state, const Node& node, int index) {
  const auto& gpus = node.facts.gpus;
  if (index < 0 || index >= static_cast<int>(gpus.size())) return 0;
  const GpuFacts& gpu = gpus[static_cast<std::size_t>(index)];
  return std::max<std::int64_t>(
      gpu.bytes_total - gpu.bytes_foreign - BytesReserved(state, node.facts.name, index), 0);
}

std::optional<Placement> Place(const State& state, const JobRequest& request,
                               const std::set<std::string>& avoid) {
  const Inventory inventory(state);
  const std::vector<int> sizes = WorldSizes(request, inventory.gpu_count_max());
  const std::optional<VramMode> mode = inventory.ModeFor(request, ModesOf(request), avoid);
  if (!mode) return std::nullopt;
  Inventory::Search search{.mode = *mode, .sizes = sizes, .avoid = avoid};
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
  const std::vector<int> sizes = WorldSizes(request, inventory.gpu_count_max());
  const std::optional<VramMode> chosen = inventory.ModeFor(request, ModesOf(request), {});
  constexpr int kNever = 6;
  // 0: free now, 1: once idle groups have ended, 2: some day; 3 to 5: the same in another mode than the
  // chosen.
  std::vector<std::pair<int, Option>> ranked;
  for (const int size : sizes) {
    const VramMode mode = ModeOfOption(state, request, chosen, size);
    Option option = OptionEver(state, request, mode, size);
    int rank = 2;
    Inventory::Search search{.mode = mode, .sizes = {size}};
    for (const GiveWay give_way : {GiveWay::kNobody, GiveWay::kStoppingAndIdle}) {
      search.give_way = give_way;
      const auto placement = inventory.Find(request, search);
      if (!placement) continue;
      rank = give_way == GiveWay::kNobody ? 0 : 1;
      option.fits_now = true;
      option.bytes_per_rank = BytesNeeded(state.nodes.at(placement->node).facts, request, mode, size);
      option.node = placement->node;
      option.gpu_indices = placement->gpu_indices;
      option.reason = ReasonFor(*placement, option.bytes_per_rank, rank == 0);
      break;
    }
    if (chosen && mode != *chosen) rank += 3;
    ranked.emplace_back(option.fits_ever ? rank : kNever, std::move(option));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Option> options;
  for (auto& [rank, option] : ranked) options.push_back(std::move(option));
  return options;
}

}  // namespace ovi::core
