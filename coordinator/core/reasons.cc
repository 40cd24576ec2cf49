// What placement says when it cannot: in words for the user.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/format.h"
#include "base/text.h"
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

// Why no node could ever hold it, by the one that comes nearest.
absl::Status DoesNotFit(const State& state, const JobRequest& request) {
  const std::vector<int> sizes = WorldSizes(request);
  if (sizes.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("gpu_count: ", request.gpu_count, " GPUs make no sense"));
  }
  const int size = sizes.back();  // the least that would do
  const Node* nearest = nullptr;
  int most = -1;
  std::int64_t largest = 0;
  std::string largest_on;
  for (const auto& [name, node] : state.nodes) {
    const std::int64_t bytes = BytesNeeded(node.facts, request);
    if (bytes <= 0) continue;
    for (const GpuFacts& gpu : node.facts.gpus) {
      if (gpu.bytes_total <= largest) continue;
      largest = gpu.bytes_total;
      largest_on = name;
    }
    const int count = GpusLargeEnough(node.facts, bytes);
    if (count <= most) continue;
    most = count;
    nearest = &node;
  }
  if (nearest == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("model_name: no node says how much memory ",
                                                      Quoted(request.model_name), " needs",
                                                      request.reference ? " in precision reference" : ""));
  }
  const std::string needs = absl::StrCat("needs ", GpusWith(size, BytesNeeded(nearest->facts, request)),
                                         size == 1 ? "; " : " each on one node; ");
  if (most >= size) {
    return absl::FailedPreconditionError(
        absl::StrCat(needs, nearest->facts.name, " has them, but its workers run with ",
                     absl::StrJoin(nearest->facts.world_sizes, ", "), " ranks only"));
  }
  if (most > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(needs, "the most there are: ", most, " on ", nearest->facts.name));
  }
  return absl::FailedPreconditionError(
      largest == 0 ? absl::StrCat(needs, "there is no GPU")
                   : absl::StrCat(needs, "the largest there is: ", FormatBytes(largest), " on ", largest_on));
}

// The node with most GPUs that could take a rank now.
struct MostFree {
  int count = 0;
  std::string node;
  std::int64_t bytes = 0;  // that a rank needs
};

MostFree FindMostFree(const Inventory& inventory, const JobRequest& request,
                      const std::set<std::string>& avoid) {
  MostFree most;
  for (const auto& [name, books] : inventory.nodes()) {
    const std::int64_t bytes = BytesNeeded(books.node->facts, request);
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

// Why none of the nodes that could hold it does, also not once all groups have ended.
std::string NobodyCan(const State& state, const JobRequest& request, const std::set<std::string>& avoid) {
  constexpr std::size_t kNamedMax = 4;
  std::vector<std::string> why;
  for (const auto& [name, node] : state.nodes) {
    if (!CouldEverHold(node.facts, request)) continue;
    const char* const reason = !node.connected                ? " is lost"
                               : state.drained.contains(name) ? " is drained"
                               : avoid.contains(name)
                                   ? " failed it before"
                                   : " has too little memory free of others, or faulty GPUs";
    why.push_back(absl::StrCat(name, reason));
  }
  const std::size_t more = why.size() - std::min(why.size(), kNamedMax);
  why.resize(why.size() - more);
  return absl::StrCat("waits for a node: ", absl::StrJoin(why, ", "),
                      more == 0 ? "" : absl::StrCat(", and ", more, " more"));
}

}  // namespace

std::string GpusWith(int count, std::int64_t bytes) {
  return absl::StrCat(count, count == 1 ? " GPU" : " GPUs", " with ", FormatBytes(bytes));
}

absl::Status CheckFitsEver(const State& state, const JobRequest& request) {
  if (state.nodes.empty()) return absl::OkStatus();
  bool has_model = false;
  for (const auto& [name, node] : state.nodes) {
    if (CouldEverHold(node.facts, request)) return absl::OkStatus();
    for (const ModelFacts& model : node.facts.models) {
      has_model = has_model || (model.name == request.model_name && model.problem.empty());
    }
  }
  return has_model ? DoesNotFit(state, request) : NoSuchModel(state, request);
}

std::string PendingReason(const State& state, const JobRequest& request, const std::set<std::string>& avoid) {
  if (state.nodes.empty()) return "waits for a node: none has connected yet";
  if (const absl::Status fits = CheckFitsEver(state, request); !fits.ok()) return std::string(fits.message());
  const Inventory inventory(state);
  Inventory::Search search{.sizes = WorldSizes(request), .avoid = avoid, .give_way = GiveWay::kEverybody};
  if (!inventory.Find(request, search)) return NobodyCan(state, request, avoid);
  search.give_way = GiveWay::kNobody;
  if (inventory.Find(request, search)) return "waits for its turn";
  search.give_way = GiveWay::kStoppingAndIdle;
  if (const auto soon = inventory.Find(request, search)) {
    return absl::StrCat("waits for idle groups on ", soon->node, " to end");
  }
  const int size = search.sizes.back();
  const MostFree most = FindMostFree(inventory, request, avoid);
  return absl::StrCat(
      "waits for ", GpusWith(size, most.bytes), " free",
      most.count == 0 ? " (none is)" : absl::StrCat(" (largest free: ", most.count, " on ", most.node, ")"));
}

std::string PendingReason(const State& state, const Job& job) {
  return absl::StrCat(job.pending_reason, job.pending_reason.empty() ? "" : "; ",
                      PendingReason(state, job.request, AvoidedNodes(state, job)));
}

}  // namespace ovi::core
