// All that the coordinator knows. Ordered containers, so that iteration, and with it every decision, is
// deterministic.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "coordinator/core/change.h"
#include "coordinator/core/types.h"

namespace ovi::core {

// Order of the queue: priority, then age.
struct QueueKey {
  int priority = 0;
  JobId job = 0;
  bool operator<(const QueueKey& other) const {
    return std::tuple(-priority, job) < std::tuple(-other.priority, other.job);
  }
};

struct State {
  Policy policy;

  // Durable: changed by Apply alone.
  std::map<JobId, Job> jobs;
  std::map<std::string, JobId> request_ids;    // not ""
  std::map<std::string, std::string> drained;  // node -> reason
  JobId next_job = 1;
  // Indexes over jobs, kept by Apply, so that no event costs time in proportion to the jobs kept.
  std::set<QueueKey> queue;                     // PENDING
  std::set<JobId> active;                       // CONFIGURING, RUNNING, COMPLETING
  std::set<std::pair<TimeMs, JobId>> finished;  // by their end
  std::set<JobId> not_ready;                    // not ended, and an attempt of theirs ended NODE_NOT_READY

  // Volatile.
  std::map<std::string, Node> nodes;
  std::map<GroupId, Group> groups;
  TimeMs started_at = 0;  // of this process; groups and agents get reconnect_ms_max from here
};

// Carries one fact into the durable part. FAILED_PRECONDITION for one that cannot follow what is there (a
// corrupt journal, or a bug): `state` is then as before.
absl::Status Apply(State& state, const Change& change);

// The job whose current attempt is `ref`, or null: then `ref` is late, or never was.
Job* CurrentJob(State& state, const AttemptRef& ref);
const Job* CurrentJob(const State& state, const AttemptRef& ref);

}  // namespace ovi::core
