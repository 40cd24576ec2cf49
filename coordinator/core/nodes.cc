// Nodes as they come, go and come back, and what an operator does to them.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/core/step.h"

namespace ovi::core {
namespace {

bool IsSilent(const Step& step, const Node& node) {
  return step.at() - node.last_heard_at >= step.policy().node_silence_ms_max;
}

Ending GoneWhileAway(const GroupId& group) {
  return {.end = AttemptEnd::kWorkerCrash,
          .message = absl::StrCat("group ", group, " ended, nobody saw how")};
}

Ending OrderLost(const GroupId& group) {
  return {.end = AttemptEnd::kLaunchFailed,
          .message =
              absl::StrCat("the agent does not know of group ", group, ": the order to start it was lost")};
}

// A group we did not know: reserved until somebody says what it is.
void Welcome(Step& step, const GroupFound& found, const std::string& node) {
  const Job* job = JobNaming(step.state(), found.group);
  Group& group = AddGroup(step, found, node);
  group.seen_by_agent = true;
  group.state = GroupState::kIdle;
  if (job == nullptr) return;
  group.state = job->state == JobState::kConfiguring ? GroupState::kStarting : GroupState::kBusy;
  group.attempt = CurrentRef(*job);
}

// Groups of the node that we know, and its agent may know or not.
void Compare(Step& step, const std::string& node, const std::set<GroupId>& listed) {
  std::vector<GroupId> ids;
  for (const auto& [id, group] : step.state().groups) {
    if (group.node == node) ids.push_back(id);
  }
  for (const GroupId& id : ids) {
    Group& group = step.state().groups.at(id);
    group.seen_by_agent = listed.contains(id);
    if (group.state == GroupState::kStopping) {
      // Whatever was said before may be lost. The answer is GroupExited, also for a group the agent does not
      // know.
      group.stop_sent_at = step.at();
      step.Order(StopGroup{.group = id, .node = node});
    } else if (group.seen_by_agent || group.attached) {
      continue;  // its own stream proves that it lives
    } else if (group.state == GroupState::kStarting) {
      // The order may still lie in the agent's queue, so the reservation stays until it has answered.
      EndAttemptOf(step, group, OrderLost(id));
      Stop(step, group);
    } else {
      EndAttemptOf(step, group, GoneWhileAway(id));
      step.state().groups.erase(id);
    }
  }
}

// Attempts of before our own restart whose groups the agent does not have.
void EndLostAttempts(Step& step, const std::string& node, const std::set<GroupId>& listed) {
  State& state = step.state();
  const std::vector<JobId> active(state.active.begin(), state.active.end());
  for (const JobId id : active) {
    Job& job = state.jobs.at(id);
    const Attempt attempt = *job.current();
    if (attempt.node != node || listed.contains(attempt.group) || state.groups.contains(attempt.group))
      continue;
    if (job.state != JobState::kConfiguring) {
      EndAttempt(step, job, GoneWhileAway(attempt.group));
      continue;
    }
    EndAttempt(step, job, OrderLost(attempt.group));
    Stop(step, AddGroup(step,
                        {.group = attempt.group,
                         .gpu_indices = attempt.gpu_indices,
                         .bytes_per_rank = attempt.bytes_per_rank,
                         .model_name = job.request.model_name},
                        node));
  }
}

bool IsKnown(const State& state, const std::string& node) {
  return state.nodes.contains(node) || state.drained.contains(node);
}

absl::Status NoSuchNode(const std::string& node) {
  return absl::NotFoundError(absl::StrCat("there is no node ", node));
}

}  // namespace

void Handle(Step& step, const NodeConnected& what) {
  State& state = step.state();
  const std::string& name = what.facts.name;
  const auto found = state.nodes.find(name);
  if (found != state.nodes.end()) {
    const Node& old = found->second;
    if (old.connected && old.facts.instance_id != what.facts.instance_id && !IsSilent(step, old)) {
      step.Reply(absl::AlreadyExistsError(absl::StrCat("another agent of the name ", name, " is connected")));
      return;
    }
  }
  state.nodes[name] = {.facts = what.facts, .connected = true, .last_heard_at = step.at()};
  std::set<GroupId> listed;
  for (const GroupFound& group : what.groups) listed.insert(group.group);
  Compare(step, name, listed);
  for (const GroupFound& group : what.groups) {
    if (!state.groups.contains(group.group)) Welcome(step, group, name);
  }
  EndLostAttempts(step, name, listed);
  Schedule(step);
}

void Handle(Step& step, const NodeReported& what) {
  const auto found = step.state().nodes.find(what.node);
  if (found == step.state().nodes.end() || found->second.facts.instance_id != what.instance_id ||
      found->second.must_say_hello) {
    step.Reply(absl::FailedPreconditionError(
        absl::StrCat("node ", what.node, " was given up for lost: its agent must say hello again")));
    return;
  }
  Node& node = found->second;
  const bool changed = !node.connected || node.facts.gpus != what.gpus;
  node.connected = true;
  node.given_up = false;
  node.stream_ended = false;
  node.last_heard_at = step.at();
  node.facts.gpus = what.gpus;
  if (!changed) return;
  StopUnwantedIdleGroups(step);
  Schedule(step);
}

void Handle(Step& step, const NodeDisconnected& what) {
  const auto found = step.state().nodes.find(what.node);
  if (found == step.state().nodes.end() || found->second.facts.instance_id != what.instance_id) return;
  found->second.connected = false;
  found->second.stream_ended = true;
  for (auto& [id, group] : step.state().groups) {
    if (group.node == what.node) group.seen_by_agent = false;
  }
}

void Handle(Step& step, const DrainAsked& what) {
  State& state = step.state();
  if (!IsKnown(state, what.node)) {
    step.Reply(NoSuchNode(what.node));
    return;
  }
  const auto drained = state.drained.find(what.node);
  if (drained != state.drained.end() && drained->second == what.reason) return;
  step.Record(NodeDrained{.node = what.node, .at = step.at(), .reason = what.reason});
  StopUnwantedIdleGroups(step);
}

void Handle(Step& step, const ResumeAsked& what) {
  State& state = step.state();
  if (!IsKnown(state, what.node)) {
    step.Reply(NoSuchNode(what.node));
    return;
  }
  if (!state.drained.contains(what.node)) return;
  step.Record(NodeResumed{.node = what.node, .at = step.at()});
  Schedule(step);
}

}  // namespace ovi::core
