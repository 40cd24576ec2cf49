#include "coordinator/journal/codec.h"

#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "coordinator/journal/change.pb.h"

namespace ovi {
namespace {

namespace pb = journal::v1;

// One word of core and its number on disk. Core may reorder its enums; these pairs stay.
template <typename Core, typename Proto>
struct Word {
  Core core;
  Proto proto;
};

constexpr Word<core::JobState, pb::JobState> kJobStates[] = {
    {core::JobState::kPending, pb::JOB_STATE_PENDING},
    {core::JobState::kConfiguring, pb::JOB_STATE_CONFIGURING},
    {core::JobState::kRunning, pb::JOB_STATE_RUNNING},
    {core::JobState::kCompleting, pb::JOB_STATE_COMPLETING},
    {core::JobState::kCompleted, pb::JOB_STATE_COMPLETED},
    {core::JobState::kFailed, pb::JOB_STATE_FAILED},
    {core::JobState::kCancelled, pb::JOB_STATE_CANCELLED}};

constexpr Word<core::AttemptEnd, pb::AttemptEnd> kAttemptEnds[] = {
    {core::AttemptEnd::kNone, pb::ATTEMPT_END_NONE},
    {core::AttemptEnd::kCompleted, pb::ATTEMPT_END_COMPLETED},
    {core::AttemptEnd::kOutOfMemory, pb::ATTEMPT_END_OUT_OF_MEMORY},
    {core::AttemptEnd::kNodeFail, pb::ATTEMPT_END_NODE_FAIL},
    {core::AttemptEnd::kGpuError, pb::ATTEMPT_END_GPU_ERROR},
    {core::AttemptEnd::kWorkerCrash, pb::ATTEMPT_END_WORKER_CRASH},
    {core::AttemptEnd::kTimeout, pb::ATTEMPT_END_TIMEOUT},
    {core::AttemptEnd::kLaunchFailed, pb::ATTEMPT_END_LAUNCH_FAILED},
    {core::AttemptEnd::kBadInput, pb::ATTEMPT_END_BAD_INPUT},
    {core::AttemptEnd::kPreempted, pb::ATTEMPT_END_PREEMPTED},
    {core::AttemptEnd::kCancelled, pb::ATTEMPT_END_CANCELLED}};

constexpr Word<core::Stage, pb::Stage> kStages[] = {{core::Stage::kNone, pb::STAGE_NONE},
                                                    {core::Stage::kEncode, pb::STAGE_ENCODE},
                                                    {core::Stage::kDenoise, pb::STAGE_DENOISE},
                                                    {core::Stage::kDecode, pb::STAGE_DECODE}};

constexpr Word<core::ArtifactKind, pb::ArtifactKind> kArtifactKinds[] = {
    {core::ArtifactKind::kVideo, pb::ARTIFACT_KIND_VIDEO},
    {core::ArtifactKind::kPoster, pb::ARTIFACT_KIND_POSTER},
    {core::ArtifactKind::kContactSheet, pb::ARTIFACT_KIND_CONTACT_SHEET}};

constexpr Word<core::Allocation, pb::Allocation> kAllocations[] = {
    {core::Allocation::kAuto, pb::ALLOCATION_AUTO},
    {core::Allocation::kSingle, pb::ALLOCATION_SINGLE},
    {core::Allocation::kMulti, pb::ALLOCATION_MULTI},
    {core::Allocation::kFsdp, pb::ALLOCATION_FSDP}};

template <typename Core, typename Proto, std::size_t count>
Proto ToProto(const Word<Core, Proto> (&words)[count], Core value) {
  for (const auto& word : words) {
    if (word.core == value) return word.proto;
  }
  OVI_CHECK(!"an enum value without a number on disk");
  std::abort();
}

template <typename Core, typename Proto, std::size_t count>
absl::Status ToCore(const Word<Core, Proto> (&words)[count], Proto value, const char* name, Core* out) {
  for (const auto& word : words) {
    if (word.proto != value) continue;
    *out = word.core;
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(name, ": unknown value ", static_cast<int>(value)));
}

// --- Encoding

void Fill(const core::AttemptRef& from, pb::AttemptRef* to) {
  to->set_job(from.job);
  to->set_attempt(from.attempt);
}

void Fill(const core::JobAdded& from, pb::JobAdded* to) {
  to->set_job(from.job);
  to->set_at(from.at);
  to->set_request_id(from.request_id);
  pb::JobRequest& request = *to->mutable_request();
  request.set_user(from.request.user);
  request.set_priority(from.request.priority);
  request.set_model_name(from.request.model_name);
  request.set_reference(from.request.reference);
  request.set_allocation(ToProto(kAllocations, from.request.allocation));
  request.set_gpu_count(from.request.gpu_count);
  request.set_one_pass(from.request.one_pass);
  to->set_spec(from.spec);
  for (const std::string& warning : from.warnings) to->add_warnings(warning);
}

void Fill(const core::AttemptStarted& from, pb::AttemptStarted* to) {
  Fill(from.attempt, to->mutable_attempt());
  to->set_at(from.at);
  to->set_group(from.group);
  to->set_node(from.node);
  for (const int index : from.gpu_indices) to->add_gpu_indices(index);
  to->set_bytes_per_rank(from.bytes_per_rank);
  to->set_warm(from.warm);
}

void Fill(const core::AttemptAdvanced& from, pb::AttemptAdvanced* to) {
  Fill(from.attempt, to->mutable_attempt());
  to->set_at(from.at);
  to->set_state(ToProto(kJobStates, from.state));
}

void Fill(const core::AttemptEnded& from, pb::AttemptEnded* to) {
  Fill(from.attempt, to->mutable_attempt());
  to->set_at(from.at);
  to->set_end(ToProto(kAttemptEnds, from.end));
  to->set_message(from.message);
  for (const core::MemoryReport& report : from.memory) {
    pb::MemoryReport& out = *to->add_memory();
    out.set_rank(report.rank);
    out.set_stage(ToProto(kStages, report.stage));
    out.set_device_bytes_peak(report.device_bytes_peak);
    out.set_device_bytes_planned(report.device_bytes_planned);
    out.set_seconds(report.seconds);
  }
}

void Fill(const core::JobFinished& from, pb::JobFinished* to) {
  to->set_job(from.job);
  to->set_at(from.at);
  to->set_state(ToProto(kJobStates, from.state));
  to->set_error(from.error);
  for (const core::Artifact& artifact : from.artifacts) {
    pb::Artifact& out = *to->add_artifacts();
    out.set_kind(ToProto(kArtifactKinds, artifact.kind));
    out.set_file_name(artifact.file_name);
    out.set_sha256(artifact.sha256);
    out.set_size_bytes(artifact.size_bytes);
  }
}

void Fill(const core::CancelRequested& from, pb::CancelRequested* to) {
  to->set_job(from.job);
  to->set_at(from.at);
}

void Fill(const core::JobForgotten& from, pb::JobForgotten* to) {
  to->set_job(from.job);
}

void Fill(const core::NodeDrained& from, pb::NodeDrained* to) {
  to->set_node(from.node);
  to->set_at(from.at);
  to->set_reason(from.reason);
}

void Fill(const core::NodeResumed& from, pb::NodeResumed* to) {
  to->set_node(from.node);
  to->set_at(from.at);
}

// The member of the oneof for each change.
struct Field {
  pb::Change* out;
  void operator()(const core::JobAdded& what) const { Fill(what, out->mutable_job_added()); }
  void operator()(const core::AttemptStarted& what) const { Fill(what, out->mutable_attempt_started()); }
  void operator()(const core::AttemptAdvanced& what) const { Fill(what, out->mutable_attempt_advanced()); }
  void operator()(const core::AttemptEnded& what) const { Fill(what, out->mutable_attempt_ended()); }
  void operator()(const core::JobFinished& what) const { Fill(what, out->mutable_job_finished()); }
  void operator()(const core::CancelRequested& what) const { Fill(what, out->mutable_cancel_requested()); }
  void operator()(const core::JobForgotten& what) const { Fill(what, out->mutable_job_forgotten()); }
  void operator()(const core::NodeDrained& what) const { Fill(what, out->mutable_node_drained()); }
  void operator()(const core::NodeResumed& what) const { Fill(what, out->mutable_node_resumed()); }
};

// --- Decoding

core::AttemptRef Read(const pb::AttemptRef& from) {
  return {from.job(), from.attempt()};
}

absl::StatusOr<core::Change> Read(const pb::JobAdded& from) {
  core::JobAdded to{.job = from.job(), .at = from.at(), .request_id = from.request_id()};
  const pb::JobRequest& request = from.request();
  to.request.user = request.user();
  to.request.priority = request.priority();
  to.request.model_name = request.model_name();
  to.request.reference = request.reference();
  OVI_RETURN_IF_ERROR(ToCore(kAllocations, request.allocation(), "allocation", &to.request.allocation));
  to.request.gpu_count = request.gpu_count();
  to.request.one_pass = request.one_pass();
  to.spec = from.spec();
  to.warnings.assign(from.warnings().begin(), from.warnings().end());
  return to;
}

absl::StatusOr<core::Change> Read(const pb::AttemptStarted& from) {
  return core::AttemptStarted{.attempt = Read(from.attempt()),
                              .at = from.at(),
                              .group = from.group(),
                              .node = from.node(),
                              .gpu_indices = {from.gpu_indices().begin(), from.gpu_indices().end()},
                              .bytes_per_rank = from.bytes_per_rank(),
                              .warm = from.warm()};
}

absl::StatusOr<core::Change> Read(const pb::AttemptAdvanced& from) {
  core::AttemptAdvanced to{.attempt = Read(from.attempt()), .at = from.at()};
  OVI_RETURN_IF_ERROR(ToCore(kJobStates, from.state(), "state", &to.state));
  return to;
}

absl::StatusOr<core::Change> Read(const pb::AttemptEnded& from) {
  core::AttemptEnded to{.attempt = Read(from.attempt()), .at = from.at()};
  OVI_RETURN_IF_ERROR(ToCore(kAttemptEnds, from.end(), "end", &to.end));
  to.message = from.message();
  for (const pb::MemoryReport& report : from.memory()) {
    core::MemoryReport& out = to.memory.emplace_back();
    out.rank = report.rank();
    OVI_RETURN_IF_ERROR(ToCore(kStages, report.stage(), "memory.stage", &out.stage));
    out.device_bytes_peak = report.device_bytes_peak();
    out.device_bytes_planned = report.device_bytes_planned();
    out.seconds = report.seconds();
  }
  return to;
}

absl::StatusOr<core::Change> Read(const pb::JobFinished& from) {
  core::JobFinished to{.job = from.job(), .at = from.at()};
  OVI_RETURN_IF_ERROR(ToCore(kJobStates, from.state(), "state", &to.state));
  to.error = from.error();
  for (const pb::Artifact& artifact : from.artifacts()) {
    core::Artifact& out = to.artifacts.emplace_back();
    OVI_RETURN_IF_ERROR(ToCore(kArtifactKinds, artifact.kind(), "artifacts.kind", &out.kind));
    out.file_name = artifact.file_name();
    out.sha256 = artifact.sha256();
    out.size_bytes = artifact.size_bytes();
  }
  return to;
}

absl::StatusOr<core::Change> Read(const pb::Change& from) {
  switch (from.what_case()) {
    case pb::Change::kJobAdded:
      return Read(from.job_added());
    case pb::Change::kAttemptStarted:
      return Read(from.attempt_started());
    case pb::Change::kAttemptAdvanced:
      return Read(from.attempt_advanced());
    case pb::Change::kAttemptEnded:
      return Read(from.attempt_ended());
    case pb::Change::kJobFinished:
      return Read(from.job_finished());
    case pb::Change::kCancelRequested:
      return core::CancelRequested{.job = from.cancel_requested().job(), .at = from.cancel_requested().at()};
    case pb::Change::kJobForgotten:
      return core::JobForgotten{.job = from.job_forgotten().job()};
    case pb::Change::kNodeDrained: {
      const pb::NodeDrained& what = from.node_drained();
      return core::NodeDrained{.node = what.node(), .at = what.at(), .reason = what.reason()};
    }
    case pb::Change::kNodeResumed:
      return core::NodeResumed{.node = from.node_resumed().node(), .at = from.node_resumed().at()};
    case pb::Change::WHAT_NOT_SET:
      break;
  }
  return absl::DataLossError("holds no change this version knows");
}

}  // namespace

core::JobId JobOf(const core::Change& change) {
  return std::visit(
      [](const auto& what) -> core::JobId {
        if constexpr (requires { what.job; }) return what.job;
        if constexpr (requires { what.attempt; }) return what.attempt.job;
        return 0;
      },
      change);
}

JournalRow EncodeChange(const core::Change& change) {
  pb::Change message;
  std::visit(Field{&message}, change);
  return {JobOf(change), static_cast<int>(message.what_case()), message.SerializeAsString()};
}

absl::StatusOr<core::Change> DecodeChange(int kind, std::string_view payload) {
  pb::Change message;
  // A journal row never reaches 2 GiB: SQLite's own limit is less.
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return absl::DataLossError(absl::StrCat("payload of ", payload.size(), " bytes is no change"));
  }
  absl::StatusOr<core::Change> change = Read(message);
  if (change.ok() && static_cast<int>(message.what_case()) != kind) {
    return absl::DataLossError(
        absl::StrCat("kind is ", kind, ", but the payload's is ", static_cast<int>(message.what_case())));
  }
  return change;
}

std::int64_t ChecksumOf(core::JobId job, int kind, std::string_view payload) {
  std::uint64_t hash = 0xcbf29ce484222325;
  // Each step is a bijection of `hash`, so a single byte that differs is never lost.
  const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  add(static_cast<std::uint64_t>(job));
  add(static_cast<std::uint64_t>(kind));
  for (const char c : payload) add(static_cast<std::uint8_t>(c));
  return static_cast<std::int64_t>(hash);
}

}  // namespace ovi
