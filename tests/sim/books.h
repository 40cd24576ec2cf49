// What must hold whatever happens, checked against what really happened on the nodes and not against the
// State's own counters.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "coordinator/core/advance.h"
#include "tests/sim/cluster.h"

namespace ovi::sim {

// The simulator's own reading of a request: whether a group of so many ranks is what was asked for.
bool MayHave(const core::JobRequest& request, int ranks, bool fsdp);
// And whether it may run in that mode.
bool MayRunIn(const core::JobRequest& request, VramMode mode);
// What each rank needs then; nothing where that is more than the request may take.
std::optional<std::int64_t> BytesOf(const core::MemoryNeed& need, const core::JobRequest& request);

class Books {
 public:
  Books(Verdict& verdict, Cluster& cluster, const core::Policy& policy)
      : verdict_(verdict), cluster_(cluster), policy_(policy) {}

  void Check(const core::State& state, const core::Outcome& outcome);
  // What must not go on for long while the coordinator is up: now and then.
  void CheckTimes(const core::State& state, TimeMs now, bool events_come_late);
  // It has forgotten which groups it had stopped.
  void OnRestart() { stopped_.clear(); }

  // How often what happened, for the test that asks whether the simulator reaches everything.
  const std::map<std::string, int>& seen() const { return seen_; }

 private:
  void OnChange(const core::State& state, const core::Change& change);
  void CheckAttemptsBefore(const core::Job& job, const core::AttemptStarted& started);
  void CheckGroupOf(const core::JobRequest& request, const core::AttemptStarted& started);
  void CheckModeOf(const core::State& state, const core::AttemptStarted& started);
  static bool GivesMode(const core::NodeFacts& node, const core::ModelFacts& model,
                        const core::JobRequest& request, VramMode mode);
  void OnDecision(const core::State& state, const core::Decision& decision);
  void OnStart(const core::StartGroup& start);
  void OnState(const core::State& state);

  Verdict& verdict_;
  Cluster& cluster_;
  const core::Policy policy_;
  std::map<core::JobId, core::JobState> states_;
  std::set<AttemptRef> started_, ended_;
  std::set<core::JobId> cancelled_;
  std::map<core::JobId, AttemptRef> published_;
  std::set<std::string> drained_;
  std::set<GroupId> stopped_;
  std::map<AttemptRef, TimeMs> groupless_since_;
  std::map<std::string, int> seen_;
};

}  // namespace ovi::sim
