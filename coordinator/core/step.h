// One call of Advance, from the inside: what its parts share. Internal to core.
#pragma once

#include <string>
#include <vector>

#include "coordinator/core/advance.h"
#include "coordinator/core/state.h"

namespace ovi::core {

class Step {
 public:
  Step(State& state, TimeMs at) : state_(state), at_(at) {}
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  State& state() { return state_; }
  TimeMs at() const { return at_; }
  const Policy& policy() const { return state_.policy; }

  // Applies a fact that can follow, or the program is wrong.
  void Record(Change change);
  void Order(Decision decision);
  void Touch(JobId job) { outcome_.touched.push_back(job); }
  void Reply(core::Reply reply) { outcome_.reply = std::move(reply); }

  Outcome Finish();

 private:
  State& state_;
  TimeMs at_;
  Outcome outcome_;
};

// One for each event.
void Handle(Step& step, const JobsSubmitted& what);
void Handle(Step& step, const CancelAsked& what);
void Handle(Step& step, const NodeConnected& what);
void Handle(Step& step, const NodeReported& what);
void Handle(Step& step, const NodeDisconnected& what);
void Handle(Step& step, const DrainAsked& what);
void Handle(Step& step, const ResumeAsked& what);
void Handle(Step& step, const GroupExited& what);
void Handle(Step& step, const GroupAttached& what);
void Handle(Step& step, const GroupDetached& what);
void Handle(Step& step, const AttemptProgressed& what);
void Handle(Step& step, const ArtifactBegun& what);
void Handle(Step& step, const AttemptReported& what);
void Handle(Step& step, const Tick& what);

// schedule.cc: starts what can start now.
void Schedule(Step& step);

// attempts.cc

struct Ending {
  AttemptEnd end = AttemptEnd::kNone;
  std::string message;
  std::vector<Artifact> artifacts;  // of kCompleted
};

// Ends the job's current attempt, and the job with it when nothing follows. The group is the caller's.
void EndAttempt(Step& step, Job& job, Ending ending);

// Fails the jobs that wait for another node after NODE_NOT_READY where none is left (HasNodeLeft).
void GiveUpJobsWithoutANode(Step& step);

AttemptRef CurrentRef(const Job& job);
// The order to run its current attempt.
RunAttempt RunOf(const Job& job);

// The job whose current attempt `ref` is, and runs on `group`; else null.
Job* CurrentJobOn(State& state, const AttemptRef& ref, const GroupId& group);

// The job whose current attempt is meant for `group`, or null. Asks all active jobs.
Job* JobNaming(State& state, const GroupId& group);

// groups.cc, and timeouts.cc for the last: what happens to a group.

Group* FindGroup(State& state, const GroupId& id);
void MakeIdle(Step& step, Group& group);
// Its attempt, if it had one, has ended.
void Stop(Step& step, Group& group);
// Ends the attempt of a group, if it is still the current one of its job.
void EndAttemptOf(Step& step, const Group& group, Ending ending);
// A group we hear of. Its state is up to the caller.
Group& AddGroup(Step& step, const GroupFound& found, const std::string& node);
// Ends idle groups that nothing may be placed on, or that nobody needs.
void StopUnwantedIdleGroups(Step& step);

}  // namespace ovi::core
