// The words of the scheduler: jobs, attempts, groups, nodes. Plain data; knows no protobuf, socket, file or
// clock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "worker/job/vram_mode.h"

namespace ovi::core {

using TimeMs = std::int64_t;  // milliseconds since 1970, UTC
using JobId = std::int64_t;   // from 1, in the order of submission
using GroupId = std::string;  // "g<job>-<attempt>" of the attempt it was started for

// One attempt of one job: the fencing number. What names an attempt that is not the job's current one is late
// and is ignored.
struct AttemptRef {
  JobId job = 0;
  int attempt = 0;  // from 1
  auto operator<=>(const AttemptRef&) const = default;
};

// PENDING -> CONFIGURING -> RUNNING -> COMPLETING -> COMPLETED; from any of the first four back to PENDING
// (attempt failed, tried again), to FAILED or to CANCELLED. See IsLegal in retry.h.
enum class JobState { kPending, kConfiguring, kRunning, kCompleting, kCompleted, kFailed, kCancelled };

enum class AttemptEnd {
  kNone,  // still going
  kCompleted,
  kOutOfMemory,
  kNodeFail,
  kGpuError,
  kWorkerCrash,
  kTimeout,
  kLaunchFailed,
  kBadInput,
  kPreempted,
  kCancelled,
  kNodeNotReady  // the node lacks what the job needs, and its operator can give it: a file, room on a disk
};

enum class Stage { kNone, kEncode, kDenoise, kDecode };

struct Progress {
  Stage stage = Stage::kNone;
  int step = 0;
  int steps = 0;
  double seconds_per_step = 0;
  bool operator==(const Progress&) const = default;
};

struct MemoryReport {
  int rank = 0;
  Stage stage = Stage::kNone;
  std::int64_t device_bytes_peak = 0;
  std::int64_t device_bytes_planned = 0;
  double seconds = 0;
  std::int64_t host_bytes_planned = 0;
  bool operator==(const MemoryReport&) const = default;
};

enum class ArtifactKind { kVideo, kPoster, kContactSheet };

struct Artifact {
  ArtifactKind kind = ArtifactKind::kVideo;
  std::string file_name;
  std::string sha256;  // 64 lower-case hex digits
  std::int64_t size_bytes = 0;
  bool operator==(const Artifact&) const = default;
};

enum class Allocation { kAuto, kSingle, kMulti, kFsdp };

// What scheduling needs to know of a job. The rest of its spec is opaque here.
struct JobRequest {
  std::string user;
  int priority = 0;  // higher first
  std::string model_name;
  bool reference = false;  // fp32 throughout: needs MemoryNeed::reference_bytes
  bool low_rank = false;   // weights in the low-rank form: needs MemoryNeed::low_rank_bytes
  Allocation allocation = Allocation::kAuto;
  int gpu_count = 0;  // of kMulti and kFsdp; 0 where the scheduler chooses
  VramMode vram_mode = VramMode::kAuto;
  std::int64_t vram_bytes_max = 0;  // of each GPU; 0 = no limit
  bool operator==(const JobRequest&) const = default;
};

struct Attempt {
  int number = 0;  // from 1
  std::string node;
  std::vector<int> gpu_indices;
  std::int64_t bytes_per_rank = 0;
  GroupId group;
  bool warm = false;
  TimeMs started_at = 0;
  TimeMs ended_at = 0;  // 0 while it goes on
  AttemptEnd end = AttemptEnd::kNone;
  std::string message;
  std::vector<MemoryReport> memory;
  VramMode vram_mode = VramMode::kAuto;  // chosen; kAuto in journals of before there was a choice
  bool operator==(const Attempt&) const = default;
};

struct Job {
  JobId id = 0;
  std::string request_id;
  JobRequest request;
  std::string spec;  // ovi.v1.JobSpec, serialised; not read here
  std::vector<std::string> warnings;
  JobState state = JobState::kPending;
  std::string pending_reason;
  std::string error;
  TimeMs submitted_at = 0;
  TimeMs finished_at = 0;
  bool cancel_requested = false;
  TimeMs cancel_requested_at = 0;
  std::vector<Attempt> attempts;
  std::vector<Artifact> artifacts;

  // Not in the journal, as is the memory of an attempt that goes on: told anew by the group.
  Progress progress;
  TimeMs last_sign_at = 0;  // of life of the current attempt; for the stall watchdog

  Attempt* current() {
    return attempts.empty() || attempts.back().end != AttemptEnd::kNone ? nullptr : &attempts.back();
  }
  const Attempt* current() const {
    return attempts.empty() || attempts.back().end != AttemptEnd::kNone ? nullptr : &attempts.back();
  }
  bool ended() const { return state >= JobState::kCompleted; }
  bool operator==(const Job&) const = default;
};

enum class GroupState { kStarting, kIdle, kBusy, kStopping };

// An mpirun somewhere: it holds bytes_per_rank on each of its GPUs from the decision to start it until it is
// known to have ended.
struct Group {
  GroupId id;
  std::string node;
  std::vector<int> gpu_indices;
  std::int64_t bytes_per_rank = 0;
  std::string model_name;
  GroupState state = GroupState::kStarting;
  // Of kStarting and kBusy; {0, 0} else. Of a busy group it may be a late one, which the group was told to
  // cancel.
  AttemptRef attempt;
  bool attached = false;       // rank 0 holds a stream to us
  bool seen_by_agent = false;  // its node's agent has it among its processes
  TimeMs changed_at = 0;       // of state or attached
  TimeMs stop_sent_at = 0;     // last StopGroup
  bool operator==(const Group&) const = default;
};

// What each rank of such a group takes in such a mode.
struct MemoryNeed {
  int world_size = 1;
  bool fsdp = false;
  VramMode vram_mode = VramMode::kStandard;  // never kAuto
  std::int64_t as_executed_bytes = 0;
  std::int64_t reference_bytes = 0;
  std::int64_t low_rank_bytes = 0;  // 0 = not known: as_executed_bytes
  // Beyond which a rank has no use for more; 0 = not known.
  std::int64_t as_executed_bytes_useful = 0;
  std::int64_t low_rank_bytes_useful = 0;
  bool operator==(const MemoryNeed&) const = default;
};

struct ModelFacts {
  std::string name;
  std::vector<MemoryNeed> needs;  // of the groups that can run it, one each and mode
  std::string problem;            // not "" when the folder cannot be used
  bool operator==(const ModelFacts&) const = default;
};

struct GpuFacts {
  int index = 0;
  std::string name;
  std::int64_t bytes_total = 0;
  std::int64_t bytes_foreign = 0;  // in use by anything but our groups
  std::int64_t bytes_driver = 0;   // that the driver takes for a rank beside what the rank is given
  bool faulty = false;
  bool operator==(const GpuFacts&) const = default;
};

struct NodeFacts {
  std::string name;
  std::string instance_id;
  std::vector<GpuFacts> gpus;  // index i at [i]
  std::vector<ModelFacts> models;
  bool operator==(const NodeFacts&) const = default;
};

struct Node {
  NodeFacts facts;
  bool connected = false;
  TimeMs last_heard_at = 0;
  bool stream_ended = false;  // we were told so; a node that is only silent may be heard again
  bool given_up = false;      // not heard of for reconnect_ms_max: no job waits for it that can do without
  // After that, groups on it were forgotten: only a hello tells what lives there. Nothing it reports makes it
  // connected.
  bool must_say_hello = false;
  bool operator==(const Node&) const = default;
};

// The limits an operator may set.
struct Policy {
  int attempts_max = 3;                       // of one job, beside those that end NODE_NOT_READY
  int out_of_memory_attempts_max = 2;         // of one job that end so
  std::int64_t node_silence_ms_max = 10'000;  // then it is lost
  std::int64_t reconnect_ms_max =
      20'000;  // what a detached group or, after our own restart, everybody gets to come back
  std::int64_t launch_ms_max = 60'000;  // from StartGroup to the first GroupHello
  std::int64_t stall_ms_max = 120'000;  // without a sign of progress
  std::int64_t cancel_ms_max = 10'000;  // from CancelAttempt to the group's answer; then the group is stopped
  std::int64_t stop_ms_max = 15'000;    // from StopGroup until we stop waiting for an agent that says nothing
  std::int64_t group_idle_ms_max = 300'000;  // a warm group without work
  std::int64_t job_kept_ms_max =
      std::int64_t{7} * 24 * 3600 * 1000;  // after its end; then it is forgotten, with its files
  int groups_per_gpu_max = 1;              // more share a card when its bytes allow
  std::int64_t head_wait_ms_max =
      60'000;                 // then GPUs are held back for the first job that waits for running ones
  int queue_depth_max = 256;  // jobs that one pass through the queue looks at
  std::int64_t pending_jobs_max = 200'000;  // then no more are taken
};

}  // namespace ovi::core
