// What placement says when it cannot: in words for the user.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/format.h"
#include "base/text.h"
#include "coordinator/core/course.h"
#include "coordinator/core/inventory.h"
#include "coordinator/core/placement.h"

namespace ovi::core {
namespace {

absl::Status NoSuchModel(const State& state, const JobRequest& request) {
  std::set<std::string> names;
  std::string problem;
  for (const auto& [node_name, node] : state.nodes) {
    for (const ModelFacts& model : node.facts.models) {
      if (model.problem.empty()) {
        names.insert(model.name);
      } else if (model.name == request.model_name) {
        problem = absl::StrCat("; ", node_name, " has it, but: ", OneLine(model.problem, 200));
      }
    }
  }
  const std::vector<std::string_view> known(names.begin(), names.end());
  const std::string nearest = NearestName(request.model_name, known);
  constexpr std::size_t kNamesBytesMax = 400;
  return absl::FailedPreconditionError(absl::StrCat(
      "model_name: no node has ", Quoted(request.model_name), problem,
      nearest.empty() ? "" : absl::StrCat("; did you mean ", Quoted(nearest), "?"),
      names.empty() ? ""
                    : absl::StrCat("; there are: ", OneLine(absl::StrJoin(names, ", "), kNamesBytesMax))));
}

std::string AllocationName(Allocation allocation, int size) {
  if (size == 1) return "single";
  return absl::StrCat(allocation == Allocation::kFsdp ? "fsdp_" : "multi_", size);
}

// "8.0 GiB"; to the byte where another figure, named beside it, would look alike.
std::string Distinct(std::int64_t bytes, std::int64_t beside) {
  const std::string words = FormatBytes(bytes);
  return words == FormatBytes(beside) && bytes != beside ? absl::StrCat(bytes, " bytes") : words;
}

// " in ultra_low"; standard goes without saying.
std::string InMode(VramMode mode) {
  return mode == VramMode::kStandard ? "" : absl::StrCat(" in ", ToString(mode));
}

// "multi_2": the most ranks that could run what was asked for, of its own kind where there are any; "" for
// none.
std::string AllocationThatFits(const State& state, const JobRequest& request) {
  const bool fsdp = request.allocation == Allocation::kFsdp;
  for (const Allocation kind :
       {fsdp ? Allocation::kFsdp : Allocation::kMulti, fsdp ? Allocation::kMulti : Allocation::kFsdp}) {
    JobRequest other = request;
    other.allocation = kind;
    for (int size = GpuCountMax(state); size >= (kind == Allocation::kFsdp ? 2 : 1); --size) {
      for (const VramMode mode : ModesOf(request)) {
        if (SomeCouldEverHold(state, other, mode, size)) return AllocationName(kind, size);
      }
    }
  }
  return "";
}

// The modes that were not asked for, best first.
std::vector<JobRequest> InOtherModes(const JobRequest& request) {
  std::vector<JobRequest> others;
  if (request.reference || request.vram_mode == VramMode::kAuto) return others;
  JobRequest any = request;
  any.vram_mode = VramMode::kAuto;
  for (const VramMode mode : ModesOf(any)) {
    if (mode == request.vram_mode) continue;
    others.push_back(request);
    others.back().vram_mode = mode;
  }
  return others;
}

// "; multi_2 or ultra_low would fit": what to change, the number of GPUs or the mode; else both: "; multi_2
// in ultra_low would fit"; "" for nothing.
std::string WhatWouldFit(const State& state, const JobRequest& request) {
  std::string words = AllocationThatFits(state, request);
  for (const JobRequest& other : InOtherModes(request)) {
    if (!SomeCouldEverHold(state, other)) continue;
    absl::StrAppend(&words, words.empty() ? "" : " or ", ToString(other.vram_mode));
    break;
  }
  if (request.vram_bytes_max > 0) {
    // To the byte, since that is what fits: figures for people are rounded.
    const std::int64_t limit = LimitThatFits(state, request);
    if (limit > request.vram_bytes_max) {
      absl::StrAppend(&words, words.empty() ? "" : " or ", "max_vram ", limit, " (", FormatBytes(limit), ")");
    }
  }
  if (!words.empty()) return absl::StrCat("; ", words, " would fit");
  for (const JobRequest& other : InOtherModes(request)) {
    const std::string allocation = AllocationThatFits(state, other);
    if (!allocation.empty())
      return absl::StrCat("; ", allocation, " in ", ToString(other.vram_mode), " would fit");
  }
  return "";
}

// No node has a figure for so many ranks, though some have the model.
std::string WhyNotSoManyRanks(const State& state, const JobRequest& request, VramMode mode, int size) {
  const Node* nearest = nullptr;  // of those with the model, the one with most GPUs
  std::set<int> sizes;
  for (const auto& [name, node] : state.nodes) {
    const ModelFacts* const model = FindModel(node.facts, request.model_name);
    if (model == nullptr) continue;
    if (nearest == nullptr || node.facts.gpus.size() > nearest->facts.gpus.size()) nearest = &node;
    for (const MemoryNeed& need : model->needs) {
      if (BytesNeeded(node.facts, request, mode, need.world_size) > 0) sizes.insert(need.world_size);
    }
  }
  if (nearest == nullptr) return "no node has the model";
  const auto most = static_cast<int>(nearest->facts.gpus.size());
  if (most == 0) return absl::StrCat("needs ", size, size == 1 ? " GPU" : " GPUs", "; there is no GPU");
  if (most < size) {
    return absl::StrCat("needs ", size, " GPUs on one node; the most there are: ", most, " on ",
                        nearest->facts.name);
  }
  const bool fsdp = request.allocation == Allocation::kFsdp;
  if (sizes.empty()) {
    return absl::StrCat("model_name: no node says how much memory ", Quoted(request.model_name), " needs",
                        request.reference ? " in precision reference" : InMode(mode),
                        fsdp ? " with fsdp" : "");
  }
  return absl::StrCat(Quoted(request.model_name), " cannot be divided among ", size, " ranks, only among ",
                      absl::StrJoin(sizes, ", "), fsdp ? "" : "; fsdp takes any number");
}

}  // namespace

std::string WhyNever(const State& state, const JobRequest& request, VramMode mode, int size) {
  const Node* nearest = nullptr;
  bool within = false;  // whether it needs no more there than its max_vram: such nodes go before others
  int most = -1;
  std::int64_t largest = 0;  // of those within
  std::string largest_on;
  for (const auto& [name, node] : state.nodes) {
    const std::int64_t bytes = BytesNeeded(node.facts, request, mode, size);
    if (bytes <= 0) continue;
    const bool within_here = BytesToPlace(node.facts, request, mode, size) > 0;
    for (const GpuFacts& gpu : node.facts.gpus) {
      if (!within_here || BytesForARank(gpu) <= largest) continue;
      largest = BytesForARank(gpu);
      largest_on = name;
    }
    const int count = GpusLargeEnough(node.facts, bytes);
    if (std::pair(within_here, count) <= std::pair(within, most)) continue;
    within = within_here;
    most = count;
    nearest = &node;
  }
  if (nearest == nullptr) return WhyNotSoManyRanks(state, request, mode, size);
  const std::int64_t bytes = BytesNeeded(nearest->facts, request, mode, size);
  std::string needs = absl::StrCat("needs ", GpusWith(size, bytes, within ? largest : request.vram_bytes_max),
                                   size == 1 ? "" : " each", InMode(mode));
  if (!within) {
    return absl::StrCat(needs, ", more than its max_vram, ", Distinct(request.vram_bytes_max, bytes));
  }
  absl::StrAppend(&needs, size == 1 ? "; " : " on one node; ");
  if (most > 0) return absl::StrCat(needs, "the most there are: ", most, " on ", nearest->facts.name);
  return largest == 0
             ? absl::StrCat(needs, "there is no GPU")
             : absl::StrCat(needs, "the largest there is: ", Distinct(largest, bytes), " on ", largest_on);
}

namespace {

absl::Status DoesNotFit(const State& state, const JobRequest& request) {
  const std::vector<int> sizes = WorldSizes(request, GpuCountMax(state));
  if (sizes.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("gpu_count: ", request.gpu_count, " GPUs make no sense"));
  }
  // The least that would do: few ranks, but with fsdp the most that can be, since each then holds least.
  const auto has_figure = [&](int size) {
    return std::any_of(state.nodes.begin(), state.nodes.end(), [&](const auto& entry) {
      return BytesNeeded(entry.second.facts, request, LeastMode(state, request, size), size) > 0;
    });
  };
  const auto most = std::find_if(sizes.begin(), sizes.end(), has_figure);
  const bool fsdp = request.allocation == Allocation::kFsdp && most != sizes.end();
  const int size = fsdp ? *most : sizes.back();
  return absl::FailedPreconditionError(absl::StrCat(
      WhyNever(state, request, LeastMode(state, request, size), size), WhatWouldFit(state, request)));
}

// The node with most GPUs that could take a rank now.
struct MostFree {
  int count = 0;
  std::string node;
  std::int64_t bytes = 0;  // that a rank needs
};

MostFree FindMostFree(const Inventory& inventory, const JobRequest& request, VramMode mode, int size,
                      const std::set<std::string>& avoid) {
  MostFree most;
  for (const auto& [name, books] : inventory.nodes()) {
    const std::int64_t bytes = BytesToPlace(books.node->facts, request, mode, size);
    if (!books.usable || bytes <= 0 || avoid.contains(name)) continue;
    const auto count =
        static_cast<int>(std::count_if(books.gpus.begin(), books.gpus.end(), [&](const GpuBooks& gpu) {
          return !gpu.facts->faulty && gpu.bytes_free >= bytes &&
                 static_cast<int>(gpu.groups.size()) < inventory.state().policy.groups_per_gpu_max;
        }));
    if (most.bytes == 0 || count > most.count) most = {count, name, bytes};
  }
  return most;
}

// Why none of the nodes that could hold it in one of the modes does, also not once all groups have ended.
std::string NobodyCan(const State& state, const JobRequest& request, const std::vector<VramMode>& modes,
                      const std::set<std::string>& avoid) {
  constexpr std::size_t kNamedMax = 4;
  std::vector<std::string> why;
  for (const auto& [name, node] : state.nodes) {
    if (std::none_of(modes.begin(), modes.end(), [&, &facts = node.facts](VramMode mode) {
          return CouldEverHold(facts, request, mode);
        })) {
      continue;
    }
    const char* const reason = !node.connected                ? " is lost"
                               : state.drained.contains(name) ? " is drained"
                               : avoid.contains(name)
                                   ? " failed it before"
                                   : " has too little memory free of others, or faulty GPUs";
    why.push_back(absl::StrCat(name, reason));
  }
  if (why.empty()) return "waits for a node that has not connected again";
  const std::size_t more = why.size() - std::min(why.size(), kNamedMax);
  why.resize(why.size() - more);
  return absl::StrCat("waits for a node: ", absl::StrJoin(why, ", "),
                      more == 0 ? "" : absl::StrCat(", and ", more, " more"));
}

}  // namespace

std::string GpusWith(int count, std::int64_t bytes, std::int64_t beside) {
  return absl::StrCat(count, count == 1 ? " GPU" : " GPUs", " with ", Distinct(bytes, beside));
}

absl::Status CheckFitsEver(const State& state, const JobRequest& request) {
  if (state.nodes.empty()) return absl::OkStatus();
  bool has_model = false;
  for (const auto& [name, node] : state.nodes) {
    if (CouldEverHold(node.facts, request)) return absl::OkStatus();
    has_model = has_model || FindModel(node.facts, request.model_name) != nullptr;
  }
  return has_model ? DoesNotFit(state, request) : NoSuchModel(state, request);
}

namespace {

std::string WhyPending(const Inventory& inventory, const JobRequest& request, const Course& course) {
  const State& state = inventory.state();
  if (state.nodes.empty()) return "waits for a node: none has connected yet";
  if (const absl::Status fits = CheckFitsEver(state, request); !fits.ok()) return std::string(fits.message());
  const auto& [modes, avoid] = course;
  const std::optional<VramMode> mode = inventory.ModeFor(request, modes, avoid);
  if (!mode) return NobodyCan(state, request, modes, avoid);
  Inventory::Search search{.mode = *mode,
                           .sizes = WorldSizes(request, inventory.gpu_count_max()),
                           .avoid = avoid,
                           .give_way = GiveWay::kEverybody};
  if (!inventory.Find(request, search)) return NobodyCan(state, request, {*mode}, avoid);
  search.give_way = GiveWay::kNobody;
  if (inventory.Find(request, search)) return "waits for its turn";
  search.give_way = GiveWay::kStoppingAndIdle;
  if (const auto soon = inventory.Find(request, search)) {
    return absl::StrCat("waits for idle groups on ", soon->node, " to end");
  }
  // The least that would do.
  const int size = *std::find_if(search.sizes.rbegin(), search.sizes.rend(),
                                 [&](int ranks) { return SomeCouldEverHold(state, request, *mode, ranks); });
  const MostFree most = FindMostFree(inventory, request, *mode, size, avoid);
  return absl::StrCat(
      "waits for ", GpusWith(size, most.bytes), " free", InMode(*mode),
      most.count == 0 ? " (none is)" : absl::StrCat(" (largest free: ", most.count, " on ", most.node, ")"));
}

}  // namespace

std::string PendingReason(const State& state, const Job& job) {
  const Inventory inventory(state);
  return absl::StrCat(job.pending_reason, job.pending_reason.empty() ? "" : "; ",
                      WhyPending(inventory, job.request, CourseOf(inventory, job)));
}

}  // namespace ovi::core
