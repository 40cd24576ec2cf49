// The scheduler. Pure: no clock, thread, socket, file, random number or global; time arrives inside events.
// The shell around it (coordinator/controller) is one loop: take an event, Advance, write `changes` to the
// journal, then carry out `decisions`. Whatever carries them out may fail; that failure is another event.
// Timeouts come as Tick.
//
// Of the shell core expects: time never goes back; the events of one stream come in its order; the end of a
// stream is told before the beginning of the next one of the same agent or group, or not at all. Anything may
// come twice or late, but a hello, of an agent or of a group, must be no older than the last: what an agent
// does not list is taken for gone.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/core/change.h"
#include "coordinator/core/state.h"
#include "coordinator/core/types.h"

namespace ovi::core {

// Facts, in the past tense.

struct JobSubmitted {
  std::string request_id;
  JobRequest request;
  std::string spec;
  std::vector<std::string> warnings;
};

// In one call: all of them become jobs, or none does.
struct JobsSubmitted {
  std::vector<JobSubmitted> jobs;
};

struct CancelAsked {
  JobId job = 0;
};

struct GroupFound {
  GroupId group;
  std::vector<int> gpu_indices;
  std::int64_t bytes_per_rank = 0;
  std::string model_name;
};

// An agent said hello. `groups`: all that live on its node.
struct NodeConnected {
  NodeFacts facts;
  std::vector<GroupFound> groups;
};

struct NodeReported {
  std::string node;
  std::string instance_id;
  std::vector<GpuFacts> gpus;
};

struct NodeDisconnected {
  std::string node;
  std::string instance_id;
};

struct DrainAsked {
  std::string node;
  std::string reason;
};

struct ResumeAsked {
  std::string node;
};

struct GroupExited {
  std::string node;
  GroupId group;
  bool launched = false;  // false: it could not be started at all
  int exit_code = 0;  // ovi.v1.GroupExitCode where the ranks chose it, 128 + signal from mpirun, -1 unknown
  int signal = 0;
  std::string output_tail;
};

// Rank 0 dialled: for the first time, or again after a broken connection or our own restart.
struct GroupAttached {
  GroupFound group;
  std::string node;
  AttemptRef running;  // {0, 0} when it waits for work
};

struct GroupDetached {
  GroupId group;
};

struct AttemptProgressed {
  GroupId group;
  AttemptRef attempt;
  Progress progress;
  std::vector<MemoryReport> memory;  // of the stages finished since
};

// The result's files begin to arrive. RUNNING -> COMPLETING.
struct ArtifactBegun {
  GroupId group;
  AttemptRef attempt;
};

struct AttemptReported {
  GroupId group;
  AttemptRef attempt;
  AttemptEnd end = AttemptEnd::kCompleted;
  std::string message;
  std::vector<Artifact> artifacts;  // verified and on disk
  std::vector<MemoryReport> memory;
};

struct Tick {};

struct Event {
  TimeMs at = 0;
  std::variant<JobsSubmitted, CancelAsked, NodeConnected, NodeReported, NodeDisconnected, DrainAsked,
               ResumeAsked, GroupExited, GroupAttached, GroupDetached, AttemptProgressed, ArtifactBegun,
               AttemptReported, Tick>
      what;
};

// Orders, in the imperative; each is safe to carry out twice.

struct StartGroup {
  GroupId group;
  std::string node;
  std::vector<int> gpu_indices;
  std::int64_t bytes_per_rank = 0;
  std::string model_name;
};

// Through the agent, and by ShutDown over the group's own stream where there is one.
struct StopGroup {
  GroupId group;
  std::string node;
};

struct RunAttempt {
  GroupId group;
  AttemptRef attempt;
  VramMode vram_mode = VramMode::kAuto;  // the attempt's, in place of the spec's
};

struct CancelAttempt {
  GroupId group;
  AttemptRef attempt;
};

// The group may forget the attempt; also for late ones, whose result was dropped.
struct AcknowledgeAttempt {
  GroupId group;
  AttemptRef attempt;
};

// The files this attempt uploaded are not (or no longer) wanted.
struct DropUploads {
  AttemptRef attempt;
};

struct DeleteJobFiles {
  JobId job = 0;
};

using Decision = std::variant<StartGroup, StopGroup, RunAttempt, CancelAttempt, AcknowledgeAttempt,
                              DropUploads, DeleteJobFiles>;

// What the one who caused an event is told. JobsSubmitted: the jobs, one for each, in their order; others:
// nothing but whether it is so. Errors change nothing:
//   JobsSubmitted ALREADY_EXISTS a request_id was used for another spec; FAILED_PRECONDITION no node known
//                 could ever hold a job (the message says what would fit), no node known has its model, or
//                 there are more jobs than may ever wait; RESOURCE_EXHAUSTED the queue has no room for all of
//                 them now. Of several jobs the message names the one it is about: "requests[17]"
//   CancelAsked, DrainAsked, ResumeAsked   NOT_FOUND
//   NodeReported  FAILED_PRECONDITION the node was given up for lost: end its stream, so that it says hello
//   NodeConnected ALREADY_EXISTS another living agent has the name
//   GroupAttached FAILED_PRECONDITION the group was given up
//   ArtifactBegun FAILED_PRECONDITION the attempt is not the job's current one, or not this group's
using Reply = absl::StatusOr<std::vector<JobId>>;

struct Outcome {
  std::vector<Change>
      changes;  // already applied to the state; must be durable before the decisions are carried out
  std::vector<Decision> decisions;  // in this order
  std::vector<JobId> touched;  // jobs that look different now, for those who watch; ascending, no duplicates
  Reply reply = std::vector<JobId>();
};

[[nodiscard]] Outcome Advance(State& state, const Event& event);

}  // namespace ovi::core
