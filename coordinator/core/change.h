// Facts about jobs that must survive us: the journal is a list of these, and Apply (state.h) is the only code
// that changes jobs. So replaying the journal gives the same jobs. Nodes and groups are not in here: they
// tell of themselves when they reconnect.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "coordinator/core/types.h"

namespace ovi::core {

struct JobAdded {
  JobId job = 0;
  TimeMs at = 0;
  std::string request_id;
  JobRequest request;
  std::string spec;
  std::vector<std::string> warnings;
  bool operator==(const JobAdded&) const = default;
};

// PENDING -> CONFIGURING.
struct AttemptStarted {
  AttemptRef attempt;
  TimeMs at = 0;
  GroupId group;
  std::string node;
  std::vector<int> gpu_indices;
  std::int64_t bytes_per_rank = 0;
  bool warm = false;
  VramMode vram_mode = VramMode::kAuto;  // chosen; kAuto in rows of before there was a choice
  bool operator==(const AttemptStarted&) const = default;
};

// CONFIGURING -> RUNNING, RUNNING -> COMPLETING.
struct AttemptAdvanced {
  AttemptRef attempt;
  TimeMs at = 0;
  JobState state = JobState::kRunning;
  bool operator==(const AttemptAdvanced&) const = default;
};

// The job goes back to PENDING unless a JobFinished follows.
struct AttemptEnded {
  AttemptRef attempt;
  TimeMs at = 0;
  AttemptEnd end = AttemptEnd::kNone;
  std::string message;
  std::vector<MemoryReport> memory;
  bool operator==(const AttemptEnded&) const = default;
};

struct JobFinished {
  JobId job = 0;
  TimeMs at = 0;
  JobState state = JobState::kCompleted;  // or kFailed, kCancelled
  std::string error;
  std::vector<Artifact> artifacts;
  bool operator==(const JobFinished&) const = default;
};

struct CancelRequested {
  JobId job = 0;
  TimeMs at = 0;
  bool operator==(const CancelRequested&) const = default;
};

struct JobForgotten {
  JobId job = 0;
  bool operator==(const JobForgotten&) const = default;
};

struct NodeDrained {
  std::string node;
  TimeMs at = 0;
  std::string reason;
  bool operator==(const NodeDrained&) const = default;
};

struct NodeResumed {
  std::string node;
  TimeMs at = 0;
  bool operator==(const NodeResumed&) const = default;
};

using Change = std::variant<JobAdded, AttemptStarted, AttemptAdvanced, AttemptEnded, JobFinished,
                            CancelRequested, JobForgotten, NodeDrained, NodeResumed>;

}  // namespace ovi::core
