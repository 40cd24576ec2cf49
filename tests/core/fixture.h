// A State on a workbench: events by name, and what followed from the last one.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/core/advance.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/retry.h"
#include "coordinator/core/state.h"
#include "tests/core/durable.h"

namespace ovi::core {

inline void PrintTo(JobState state, std::ostream* out) {
  *out << ToString(state);
}
inline void PrintTo(AttemptEnd end, std::ostream* out) {
  *out << ToString(end);
}

// The reason of a job with this request that found no node ready of those in `not_ready`.
inline std::string WhyPending(const State& state, const JobRequest& request,
                              const std::vector<std::string>& not_ready = {}) {
  Job job{.request = request};
  for (const std::string& node : not_ready) {
    job.attempts.push_back({.node = node, .end = AttemptEnd::kNodeNotReady});
  }
  return PendingReason(state, job);
}

// A need of 6 bytes a rank, 14 in precision reference, alone and on 2 or 4; with fsdp on 2, 3 or 4, where
// each holds less the more they are.
inline std::vector<MemoryNeed> SmallNeeds() {
  std::vector<MemoryNeed> needs;
  for (const int size : {1, 2, 4})
    needs.push_back({.world_size = size, .as_executed_bytes = 6, .reference_bytes = 14});
  for (const int size : {2, 3, 4}) {
    needs.push_back(
        {.world_size = size, .fsdp = true, .as_executed_bytes = 6 - size, .reference_bytes = 14 - size});
  }
  return needs;
}

// What most tests want.
inline NodeFacts Box(const std::string& name, const std::vector<std::int64_t>& gpu_bytes) {
  NodeFacts node{.name = name, .instance_id = name + "#1"};
  for (const std::int64_t bytes : gpu_bytes) {
    node.gpus.push_back({.index = static_cast<int>(node.gpus.size()), .bytes_total = bytes});
  }
  node.models = {{.name = "mini", .needs = SmallNeeds()}, {.name = "other", .needs = SmallNeeds()}};
  return node;
}

// The same models in the lower modes too: alone 6 bytes in standard, 5 in fp8, 4 in fp8_offload, 3 in
// ultra_low.
inline NodeFacts WithModes(NodeFacts node) {
  for (ModelFacts& model : node.models) {
    const std::vector<MemoryNeed> standard = model.needs;
    for (MemoryNeed need : standard) {
      need.reference_bytes = 0;
      for (const VramMode mode : {VramMode::kFp8, VramMode::kFp8Offload, VramMode::kUltraLow}) {
        need.vram_mode = mode;
        --need.as_executed_bytes;
        model.needs.push_back(need);
      }
    }
  }
  return node;
}

inline JobRequest Single(const std::string& model = "mini") {
  return {.user = "ada", .model_name = model, .allocation = Allocation::kSingle};
}

inline JobRequest In(VramMode mode, JobRequest request = Single()) {
  request.vram_mode = mode;
  return request;
}

inline JobRequest Multi(int gpu_count) {
  return {.user = "ada", .model_name = "mini", .allocation = Allocation::kMulti, .gpu_count = gpu_count};
}

class CoreTest : public testing::Test {
 protected:
  // Advances by no time, and checks what must always hold: the changes alone give the same jobs.
  template <typename What>
  const Outcome& Do(What what) {
    outcome_ = Advance(state_, {.at = now_, .what = std::move(what)});
    for (const Change& change : outcome_.changes) {
      journal_.push_back(change);
      EXPECT_TRUE(Apply(replayed_, change).ok());
    }
    EXPECT_EQ(DurableDifference(state_, replayed_), "");
    return outcome_;
  }
  void Wait(std::int64_t ms) { now_ += ms; }
  const Outcome& TickAfter(std::int64_t ms) {
    Wait(ms);
    return Do(Tick{});
  }

  void Connect(const NodeFacts& node, std::vector<GroupFound> groups = {}) {
    EXPECT_TRUE(Do(NodeConnected{.facts = node, .groups = std::move(groups)}).reply.ok());
  }
  // As its agent reports every few seconds.
  void Hear(const std::string& node) {
    const NodeFacts facts = state_.nodes.at(node).facts;
    Do(NodeReported{.node = node, .instance_id = facts.instance_id, .gpus = facts.gpus});
  }
  void Lose(const std::string& node) {
    Do(NodeDisconnected{.node = node, .instance_id = state_.nodes.at(node).facts.instance_id});
  }

  const Reply& SubmitBatch(std::vector<JobSubmitted> jobs) {
    return Do(JobsSubmitted{std::move(jobs)}).reply;
  }
  JobId Submit(const JobRequest& request, const std::string& request_id = "") {
    const Reply& ids = SubmitBatch({{.request_id = request_id, .request = request, .spec = "spec"}});
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.ok() ? ids->front() : 0;
  }
  const Outcome& Attach(const GroupId& id, AttemptRef running = {}) {
    const Group& group = state_.groups.at(id);
    return Do(GroupAttached{.group = FactsOf(group), .node = group.node, .running = running});
  }
  const Outcome& Progressed(const GroupId& group, AttemptRef attempt, int step = 1) {
    return Do(AttemptProgressed{.group = group,
                                .attempt = attempt,
                                .progress = {.stage = Stage::kDenoise, .step = step, .steps = 9}});
  }
  const Outcome& Report(const GroupId& group, AttemptRef attempt, AttemptEnd end) {
    return Do(AttemptReported{.group = group, .attempt = attempt, .end = end, .message = "so it was"});
  }
  const Outcome& Exit(const GroupId& group, int exit_code, const std::string& node = "box-1") {
    return Do(GroupExited{.node = node, .group = group, .launched = true, .exit_code = exit_code});
  }
  // A job that runs on a new group of its own.
  JobId Running(const JobRequest& request) {
    const JobId id = Submit(request);
    Attach(GroupOf(id));
    Progressed(GroupOf(id), Ref(id));
    EXPECT_EQ(StateOf(id), JobState::kRunning);
    return id;
  }
  // A warm group without work, and its id.
  GroupId Warm(const JobRequest& request) {
    const JobId id = Running(request);
    const GroupId group = GroupOf(id);
    Report(group, Ref(id), AttemptEnd::kCompleted);
    EXPECT_EQ(state_.groups.at(group).state, GroupState::kIdle);
    return group;
  }
  // The coordinator starts anew with its journal.
  void Restart() {
    const Policy policy = state_.policy;
    state_ = {};
    state_.policy = policy;
    for (const Change& change : journal_) ASSERT_TRUE(Apply(state_, change).ok());
    state_.started_at = now_;
  }

  const Job& JobOf(JobId id) const { return state_.jobs.at(id); }
  JobState StateOf(JobId id) const { return state_.jobs.at(id).state; }
  AttemptRef Ref(JobId id) const { return {id, JobOf(id).attempts.back().number}; }
  GroupId GroupOf(JobId id) const { return JobOf(id).attempts.back().group; }
  const Attempt& Last(JobId id) const { return JobOf(id).attempts.back(); }
  std::int64_t BytesFreeOf(const std::string& node, int gpu = 0) const {
    return BytesFree(state_, state_.nodes.at(node), gpu);
  }
  static GroupFound FactsOf(const Group& group) {
    return {.group = group.id,
            .gpu_indices = group.gpu_indices,
            .bytes_per_rank = group.bytes_per_rank,
            .model_name = group.model_name};
  }

  // Of the last event.
  template <typename Kind>
  std::vector<Kind> Orders() const {
    std::vector<Kind> out;
    for (const Decision& decision : outcome_.decisions) {
      if (const auto* kind = std::get_if<Kind>(&decision)) out.push_back(*kind);
    }
    return out;
  }
  template <typename Kind>
  bool Ordered(const GroupId& group) const {
    const std::vector<Kind> orders = Orders<Kind>();
    return std::any_of(orders.begin(), orders.end(),
                       [&group](const Kind& order) { return order.group == group; });
  }
  template <typename Kind>
  bool Ordered(const GroupId& group, const AttemptRef& attempt) const {
    const std::vector<Kind> orders = Orders<Kind>();
    return std::any_of(orders.begin(), orders.end(),
                       [&](const Kind& order) { return order.group == group && order.attempt == attempt; });
  }

  State state_;
  State replayed_;
  std::vector<Change> journal_;
  Outcome outcome_;
  TimeMs now_ = 1'000'000;
};

}  // namespace ovi::core
