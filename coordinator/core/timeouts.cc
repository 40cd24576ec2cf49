// What happens because nothing happened.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/core/step.h"

namespace ovi::core {
namespace {

constexpr int kForgottenATick = 100;

std::string Seconds(std::int64_t ms) {
  return absl::StrCat(ms / 1000, " s");
}

const Node* FindNode(const State& state, const std::string& name) {
  const auto found = state.nodes.find(name);
  return found == state.nodes.end() ? nullptr : &found->second;
}

bool IsConnected(const State& state, const std::string& name) {
  const Node* node = FindNode(state, name);
  return node != nullptr && node->connected;
}

// Since when nobody can speak for groups of the node but they themselves. For a node that is not connected.
TimeMs AwaySince(const State& state, const std::string& name) {
  const Node* node = FindNode(state, name);
  return node == nullptr ? state.started_at : std::max(node->last_heard_at, state.started_at);
}

void LoseSilentNodes(Step& step) {
  for (auto& [name, node] : step.state().nodes) {
    const std::int64_t silent_ms = step.at() - node.last_heard_at;
    if (silent_ms >= step.policy().node_silence_ms_max) node.connected = false;
    node.given_up = !node.connected && silent_ms >= step.policy().reconnect_ms_max;
  }
}

bool CancelIsOverdue(const Step& step, const State& state, const Job& job) {
  return job.cancel_requested &&
         step.at() - std::max(job.cancel_requested_at, state.started_at) >= step.policy().cancel_ms_max;
}

Ending CancelUnanswered(const Policy& policy) {
  return {.end = AttemptEnd::kCancelled,
          .message =
              absl::StrCat("did not stop within ", Seconds(policy.cancel_ms_max), "; its group was stopped")};
}

// Attempts of before our own restart whose groups did not come back.
void EndMissingAttempts(Step& step) {
  State& state = step.state();
  const Policy& policy = step.policy();
  const std::vector<JobId> active(state.active.begin(), state.active.end());
  for (const JobId id : active) {
    Job& job = state.jobs.at(id);
    const Attempt& attempt = *job.current();
    if (state.groups.contains(attempt.group)) continue;
    if (CancelIsOverdue(step, state, job)) {
      EndAttempt(step, job, CancelUnanswered(policy));
    } else if (step.at() - std::max(state.started_at, attempt.started_at) >= policy.reconnect_ms_max) {
      EndAttempt(
          step, job,
          {.end = AttemptEnd::kNodeFail,
           .message = absl::StrCat("group ", attempt.group, " did not come back within ",
                                   Seconds(policy.reconnect_ms_max), " after the coordinator's restart")});
    }
  }
}

// Why the attempt of a starting group must end now; kNone when it need not.
Ending WhyNotStart(const Step& step, const State& state, const Group& group) {
  const Policy& policy = step.policy();
  if (step.at() - group.changed_at >= policy.launch_ms_max) {
    return {.end = AttemptEnd::kLaunchFailed,
            .message =
                absl::StrCat("group ", group.id, " did not connect within ", Seconds(policy.launch_ms_max))};
  }
  if (!IsConnected(state, group.node) &&
      step.at() - std::max(group.changed_at, AwaySince(state, group.node)) >= policy.reconnect_ms_max) {
    return {.end = AttemptEnd::kNodeFail,
            .message = absl::StrCat("node ", group.node, " fell silent while group ", group.id, " started")};
  }
  return {};
}

// The same for a busy one with the current attempt of `job`.
Ending WhyNotGoOn(const Step& step, const State& state, const Group& group, const Job& job) {
  const Policy& policy = step.policy();
  const TimeMs heard_at = std::max(group.changed_at, job.last_sign_at);
  if (!group.attached && step.at() - heard_at >= policy.reconnect_ms_max) {
    return {.end = AttemptEnd::kNodeFail,
            .message =
                absl::StrCat("group ", group.id, " was not heard of for ", Seconds(policy.reconnect_ms_max))};
  }
  const TimeMs sign_at = std::max({job.last_sign_at, job.current()->started_at, state.started_at});
  if (step.at() - sign_at >= policy.stall_ms_max) {
    return {.end = AttemptEnd::kTimeout,
            .message = absl::StrCat("no progress for ", Seconds(policy.stall_ms_max))};
  }
  return {};
}

void CheckWorking(Step& step, Group& group) {
  State& state = step.state();
  Job* job = CurrentJobOn(state, group.attempt, group.id);
  if (job == nullptr) {
    // A late attempt, which it was told to cancel.
    if (step.at() - group.changed_at >= step.policy().cancel_ms_max) Stop(step, group);
    return;
  }
  Ending ending = CancelIsOverdue(step, state, *job)     ? CancelUnanswered(step.policy())
                  : group.state == GroupState::kStarting ? WhyNotStart(step, state, group)
                                                         : WhyNotGoOn(step, state, group, *job);
  if (ending.end == AttemptEnd::kNone) return;
  EndAttempt(step, *job, std::move(ending));
  Stop(step, group);
}

// False when the group is to be forgotten. That is safe only where nothing is placed before an agent has told
// what lives there: not on a node that is silent, and may be heard again at any moment.
bool CheckStopping(Step& step, Group& group) {
  const std::int64_t stop_ms_max = step.policy().stop_ms_max;
  const auto found = step.state().nodes.find(group.node);
  Node* node = found == step.state().nodes.end() ? nullptr : &found->second;
  if (node != nullptr && node->connected) {
    if (step.at() - group.stop_sent_at >= stop_ms_max) {
      group.stop_sent_at = step.at();
      step.Order(StopGroup{.group = group.id, .node = group.node});
    }
    return true;
  }
  if (group.attached || step.at() - group.changed_at < stop_ms_max) return true;
  if (node == nullptr) return false;
  if (node->stream_ended) node->must_say_hello = true;
  return !node->stream_ended;
}

void CheckGroups(Step& step) {
  State& state = step.state();
  for (auto next = state.groups.begin(); next != state.groups.end();) {
    Group& group = next->second;
    bool stays = true;
    if (group.state == GroupState::kStopping) {
      stays = CheckStopping(step, group);
    } else if (group.state != GroupState::kIdle) {
      CheckWorking(step, group);
    }
    next = stays ? std::next(next) : state.groups.erase(next);
  }
}

bool IsUnwanted(const Step& step, const State& state, const Group& group) {
  const Policy& policy = step.policy();
  const std::int64_t idle_ms = step.at() - group.changed_at;
  if (idle_ms >= policy.group_idle_ms_max || state.drained.contains(group.node)) return true;
  if (!group.attached && idle_ms >= policy.reconnect_ms_max) return true;
  const Node* node = FindNode(state, group.node);
  if (node == nullptr || !node->connected) {
    return step.at() - AwaySince(state, group.node) >= policy.reconnect_ms_max;
  }
  return std::any_of(group.gpu_indices.begin(), group.gpu_indices.end(), [node](int index) {
    const auto& gpus = node->facts.gpus;
    return index < 0 || index >= static_cast<int>(gpus.size()) ||
           gpus[static_cast<std::size_t>(index)].faulty;
  });
}

void ForgetOldJobs(Step& step) {
  State& state = step.state();
  for (int i = 0; i < kForgottenATick && !state.finished.empty(); ++i) {
    const auto [finished_at, id] = *state.finished.begin();
    if (step.at() - finished_at < step.policy().job_kept_ms_max) return;
    step.Record(JobForgotten{.job = id});
    step.Order(DeleteJobFiles{.job = id});
  }
}

}  // namespace

void StopUnwantedIdleGroups(Step& step) {
  for (auto& [id, group] : step.state().groups) {
    if (group.state == GroupState::kIdle && IsUnwanted(step, step.state(), group)) Stop(step, group);
  }
}

void Handle(Step& step, const Tick& /*what*/) {
  LoseSilentNodes(step);
  EndMissingAttempts(step);
  CheckGroups(step);
  StopUnwantedIdleGroups(step);
  GiveUpJobsWithoutANode(step);
  ForgetOldJobs(step);
  Schedule(step);
}

}  // namespace ovi::core
