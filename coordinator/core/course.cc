#include "coordinator/core/course.h"

#include <algorithm>

#include "coordinator/core/retry.h"

namespace ovi::core {
namespace {

std::set<std::string> NodesThatAskFor(NextStep asked, const State& state, const Job& job) {
  std::set<std::string> nodes;
  for (const Attempt& attempt : job.attempts) {
    // As if it were the first: what matters is the kind of end, not how often.
    if (AfterAttempt(attempt.end, {.all = 0, .out_of_memory = 0}, state.policy) == asked) {
      nodes.insert(attempt.node);
    }
  }
  return nodes;
}

// No lower than that of the last attempt, unless that ran out of memory.
std::vector<VramMode> ModesToGoOnIn(const Job& job) {
  std::vector<VramMode> modes = ModesOf(job.request);
  if (job.attempts.empty()) return modes;
  const Attempt& last = job.attempts.back();
  const auto found = std::find(modes.begin(), modes.end(), last.vram_mode);
  if (last.end != AttemptEnd::kOutOfMemory && found != modes.end()) modes.erase(found + 1, modes.end());
  return modes;
}

// Where no node gives one of those any more.
std::vector<VramMode> ModesAtLast(const Job& job) {
  const bool not_ready = !job.attempts.empty() && job.attempts.back().end == AttemptEnd::kNodeNotReady;
  return not_ready ? ModesToGoOnIn(job) : ModesOf(job.request);
}

}  // namespace

Course CourseOf(const Inventory& inventory, const Job& job) {
  const std::vector<VramMode> modes = ModesToGoOnIn(job);
  if (job.attempts.empty()) return {.modes = modes, .avoid = {}};
  const State& state = inventory.state();
  const std::set<std::string> not_ready = NodesThatAskFor(NextStep::kRetryOnlyElsewhere, state, job);
  std::set<std::string> failed = NodesThatAskFor(NextStep::kRetryElsewhere, state, job);
  failed.insert(not_ready.begin(), not_ready.end());
  const std::vector<int> sizes = WorldSizes(job.request, inventory.gpu_count_max());
  for (const auto& [name, books] : inventory.nodes()) {
    if (!books.usable || failed.contains(name)) continue;
    if (std::any_of(modes.begin(), modes.end(), [&, &node = books](VramMode mode) {
          return CouldHold(node, job.request, mode, sizes);
        })) {
      return {.modes = modes, .avoid = failed};
    }
  }
  if (inventory.ModeFor(job.request, modes, not_ready)) return {.modes = modes, .avoid = not_ready};
  return {.modes = ModesAtLast(job), .avoid = not_ready};
}

bool HasNodeLeft(const State& state, const Job& job) {
  const std::vector<VramMode> modes = ModesAtLast(job);
  const std::set<std::string> not_ready = NodesThatAskFor(NextStep::kRetryOnlyElsewhere, state, job);
  return std::any_of(state.nodes.begin(), state.nodes.end(), [&](const auto& entry) {
    const auto& [name, node] = entry;
    if (node.given_up || state.drained.contains(name) || not_ready.contains(name)) return false;
    return std::any_of(modes.begin(), modes.end(), [&, &facts = node.facts](VramMode mode) {
      return CouldEverHold(facts, job.request, mode);
    });
  });
}

}  // namespace ovi::core
