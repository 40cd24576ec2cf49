// Groups as they come, go and come back.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/format.h"
#include "base/text.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/step.h"

namespace ovi::core {
namespace {

// ovi.v1.GroupExitCode, as far as it tells more than "crashed".
enum ExitCode { kBadInput = 2, kOutOfMemory = 3, kCoordinatorLost = 5, kRejected = 6 };

// More than any GPU has; sums of it over groups cannot overflow.
constexpr std::int64_t kGroupBytesMax = std::int64_t{1} << 50;

AttemptEnd EndAfterExit(const GroupExited& exited) {
  if (!exited.launched) return AttemptEnd::kLaunchFailed;
  if (exited.signal != 0) return AttemptEnd::kWorkerCrash;
  switch (exited.exit_code) {
    case kBadInput:
      return AttemptEnd::kLaunchFailed;  // the group's own: a job's would have been reported
    case kOutOfMemory:
      return AttemptEnd::kOutOfMemory;
    case kCoordinatorLost:
    case kRejected:
      return AttemptEnd::kNodeFail;
    default:
      return AttemptEnd::kWorkerCrash;
  }
}

// "ended with exit code 139: last words | of its ranks".
std::string DescribeExit(const GroupExited& exited) {
  constexpr std::size_t kLinesMax = 3;
  constexpr std::size_t kBytesMax = 500;
  std::vector<std::string> lines = absl::StrSplit(exited.output_tail, '\n');
  for (std::string& line : lines) line = std::string(Trimmed(line));
  std::erase(lines, "");
  if (lines.size() > kLinesMax) lines.erase(lines.begin(), lines.end() - kLinesMax);
  std::string words = absl::StrJoin(lines, " | ");
  // Of too much the end is kept: it says what went wrong last.
  if (words.size() > kBytesMax) words = absl::StrCat("...", words.substr(words.size() - kBytesMax));
  const std::string what = !exited.launched        ? "could not be started"
                           : exited.signal != 0    ? absl::StrCat("was killed by signal ", exited.signal)
                           : exited.exit_code < 0  ? "ended, nobody saw how"
                           : exited.exit_code == 0 ? "ended without a result"
                                                   : absl::StrCat("ended with exit code ", exited.exit_code);
  return absl::StrCat("group ", exited.group, " ", what, words.empty() ? "" : ": ", Escaped(words));
}

// A group that is not known yet may stay, warm, where its memory was not promised to others meanwhile.
bool MayStay(const Step& step, const State& state, const GroupAttached& what) {
  const auto found = state.nodes.find(what.node);
  const bool connected = found != state.nodes.end() && found->second.connected;
  if (!connected) return step.at() - state.started_at < step.policy().reconnect_ms_max;
  const Node& node = found->second;
  return std::all_of(what.group.gpu_indices.begin(), what.group.gpu_indices.end(),
                     [&](int index) { return BytesFree(state, node, index) >= what.group.bytes_per_rank; });
}

void Reject(Step& step, const GroupId& group) {
  step.Reply(absl::FailedPreconditionError(absl::StrCat("group ", group, " was given up")));
}

// The group is the one that a job's current attempt is meant for.
void AttachNamed(Step& step, Group& group, Job& job, const AttemptRef& running) {
  const AttemptRef ref = CurrentRef(job);
  job.last_sign_at = step.at();
  group.state = GroupState::kBusy;
  group.attempt = ref;
  if (running != AttemptRef{} && running != ref) {
    // An attempt that we ended keeps it from ours. Its report makes us send RunAttempt.
    step.Order(CancelAttempt{.group = group.id, .attempt = running});
    return;
  }
  // Also for one that is being cancelled: its report ends it, whether it had begun or not.
  if (running != ref) step.Order(RunOf(job));
  if (job.cancel_requested) step.Order(CancelAttempt{.group = group.id, .attempt = ref});
}

// No current attempt is meant for the group.
void AttachOther(Step& step, Group& group, const AttemptRef& running) {
  const bool has_late_one = group.state == GroupState::kBusy;
  if (running == AttemptRef{} && !has_late_one) {
    MakeIdle(step, group);
    return;
  }
  // One that is known to have a late attempt on its hands is free when it has reported that, not before.
  if (running != AttemptRef{}) group.attempt = running;
  group.state = GroupState::kBusy;
  step.Order(CancelAttempt{.group = group.id, .attempt = group.attempt});
}

}  // namespace

Group* FindGroup(State& state, const GroupId& id) {
  const auto found = state.groups.find(id);
  return found == state.groups.end() ? nullptr : &found->second;
}

void MakeIdle(Step& step, Group& group) {
  if (group.state == GroupState::kStopping) return;
  group.state = GroupState::kIdle;
  group.attempt = {};
  group.changed_at = step.at();
}

void Stop(Step& step, Group& group) {
  if (group.state == GroupState::kStopping) return;
  group.state = GroupState::kStopping;
  group.attempt = {};
  group.changed_at = step.at();
  group.stop_sent_at = step.at();
  step.Order(StopGroup{.group = group.id, .node = group.node});
}

void EndAttemptOf(Step& step, const Group& group, Ending ending) {
  if (Job* job = CurrentJobOn(step.state(), group.attempt, group.id))
    EndAttempt(step, *job, std::move(ending));
}

Group& AddGroup(Step& step, const GroupFound& found, const std::string& node) {
  Group& group = step.state().groups[found.group];
  group.id = found.group;
  group.node = node;
  group.gpu_indices = found.gpu_indices;
  group.bytes_per_rank = std::clamp<std::int64_t>(found.bytes_per_rank, 0, kGroupBytesMax);
  group.model_name = found.model_name;
  group.changed_at = step.at();
  return group;
}

void Handle(Step& step, const GroupAttached& what) {
  State& state = step.state();
  const GroupId& id = what.group.group;
  Group* group = FindGroup(state, id);
  if (group != nullptr && group->state == GroupState::kStopping) {
    group->stop_sent_at = step.at();
    step.Order(StopGroup{.group = id, .node = group->node});
    Reject(step, id);
    return;
  }
  Job* job = group != nullptr ? CurrentJobOn(state, group->attempt, id) : JobNaming(state, id);
  if (group == nullptr) {
    const bool may_stay = job != nullptr || MayStay(step, state, what);
    group = &AddGroup(step, what.group, what.node);
    if (!may_stay) {
      Stop(step, *group);
      Reject(step, id);
      return;
    }
  }
  group->attached = true;
  group->changed_at = step.at();
  if (job != nullptr) {
    AttachNamed(step, *group, *job, what.running);
  } else {
    AttachOther(step, *group, what.running);
  }
  Schedule(step);
}

void Handle(Step& step, const GroupDetached& what) {
  Group* group = FindGroup(step.state(), what.group);
  if (group == nullptr || !group->attached) return;
  group->attached = false;
  if (group->state != GroupState::kStopping) group->changed_at = step.at();
}

void Handle(Step& step, const GroupExited& what) {
  State& state = step.state();
  const Ending ending{.end = EndAfterExit(what), .message = DescribeExit(what)};
  if (Group* group = FindGroup(state, what.group)) {
    if (group->node != what.node) return;
    EndAttemptOf(step, *group, ending);
    state.groups.erase(what.group);
  } else if (Job* job = JobNaming(state, what.group)) {
    if (job->current()->node != what.node) return;
    EndAttempt(step, *job, ending);
  }
  Schedule(step);
}

}  // namespace ovi::core
