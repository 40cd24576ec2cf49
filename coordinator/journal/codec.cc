#include "coordinator/journal/codec.h"

#include <google/protobuf/arena.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "coordinator/journal/change.pb.h"
#include "coordinator/journal/words.h"

namespace ovi {
namespace {

namespace pb = journal::v1;
using journal_words::ToCore;
using journal_words::ToProto;

// --- Encoding. Each takes its change apart by structured bindings, so that a field that core gets and the
// journal does not have breaks the build.

void Fill(const core::AttemptRef& from, pb::AttemptRef* to) {
  const auto& [job, attempt] = from;
  to->set_job(job);
  to->set_attempt(attempt);
}

void Fill(const core::JobRequest& from, pb::JobRequest* to) {
  const auto& [user, priority, model_name, reference, low_rank, allocation, gpu_count, vram_mode,
               vram_bytes_max] = from;
  to->set_user(user);
  to->set_priority(priority);
  to->set_model_name(model_name);
  to->set_reference(reference);
  to->set_low_rank(low_rank);
  to->set_allocation(ToProto(journal_words::kAllocations, allocation));
  to->set_gpu_count(gpu_count);
  to->set_vram_mode(ToProto(journal_words::kVramModes, vram_mode));
  to->set_vram_bytes_max(vram_bytes_max);
}

void Fill(const core::MemoryReport& from, pb::MemoryReport* to) {
  const auto& [rank, stage, device_bytes_peak, device_bytes_planned, seconds, host_bytes_planned] = from;
  to->set_rank(rank);
  to->set_stage(ToProto(journal_words::kStages, stage));
  to->set_device_bytes_peak(device_bytes_peak);
  to->set_device_bytes_planned(device_bytes_planned);
  to->set_seconds(seconds);
  to->set_host_bytes_planned(host_bytes_planned);
}

void Fill(const core::Artifact& from, pb::Artifact* to) {
  const auto& [kind, file_name, sha256, size_bytes] = from;
  to->set_kind(ToProto(journal_words::kArtifactKinds, kind));
  to->set_file_name(file_name);
  to->set_sha256(sha256);
  to->set_size_bytes(size_bytes);
}

void Fill(const core::JobAdded& from, pb::JobAdded* to) {
  const auto& [job, at, request_id, request, spec, warnings] = from;
  to->set_job(job);
  to->set_at(at);
  to->set_request_id(request_id);
  Fill(request, to->mutable_request());
  to->set_spec(spec);
  for (const std::string& warning : warnings) to->add_warnings(warning);
}

void Fill(const core::AttemptStarted& from, pb::AttemptStarted* to) {
  const auto& [attempt, at, group, node, gpu_indices, bytes_per_rank, warm, vram_mode] = from;
  Fill(attempt, to->mutable_attempt());
  to->set_at(at);
  to->set_group(group);
  to->set_node(node);
  for (const int index : gpu_indices) to->add_gpu_indices(index);
  to->set_bytes_per_rank(bytes_per_rank);
  to->set_warm(warm);
  to->set_vram_mode(ToProto(journal_words::kVramModes, vram_mode));
}

void Fill(const core::AttemptAdvanced& from, pb::AttemptAdvanced* to) {
  const auto& [attempt, at, state] = from;
  Fill(attempt, to->mutable_attempt());
  to->set_at(at);
  to->set_state(ToProto(journal_words::kJobStates, state));
}

void Fill(const core::AttemptEnded& from, pb::AttemptEnded* to) {
  const auto& [attempt, at, end, message, memory] = from;
  Fill(attempt, to->mutable_attempt());
  to->set_at(at);
  to->set_end(ToProto(journal_words::kAttemptEnds, end));
  to->set_message(message);
  for (const core::MemoryReport& report : memory) Fill(report, to->add_memory());
}

void Fill(const core::JobFinished& from, pb::JobFinished* to) {
  const auto& [job, at, state, error, artifacts] = from;
  to->set_job(job);
  to->set_at(at);
  to->set_state(ToProto(journal_words::kJobStates, state));
  to->set_error(error);
  for (const core::Artifact& artifact : artifacts) Fill(artifact, to->add_artifacts());
}

void Fill(const core::CancelRequested& from, pb::CancelRequested* to) {
  const auto& [job, at] = from;
  to->set_job(job);
  to->set_at(at);
}

void Fill(const core::JobForgotten& from, pb::JobForgotten* to) {
  const auto& [job] = from;
  to->set_job(job);
}

void Fill(const core::NodeDrained& from, pb::NodeDrained* to) {
  const auto& [node, at, reason] = from;
  to->set_node(node);
  to->set_at(at);
  to->set_reason(reason);
}

void Fill(const core::NodeResumed& from, pb::NodeResumed* to) {
  const auto& [node, at] = from;
  to->set_node(node);
  to->set_at(at);
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

// Of a journal from before there were modes, auto.
absl::Status ReadVramMode(pb::VramMode from, VramMode* to) {
  if (from == pb::VRAM_MODE_UNSPECIFIED) return absl::OkStatus();
  return ToCore(journal_words::kVramModes, from, "vram_mode", to);
}

absl::StatusOr<core::Change> Read(const pb::JobAdded& from) {
  core::JobAdded to{.job = from.job(), .at = from.at(), .request_id = from.request_id()};
  const pb::JobRequest& request = from.request();
  to.request.user = request.user();
  to.request.priority = request.priority();
  to.request.model_name = request.model_name();
  to.request.reference = request.reference();
  to.request.low_rank = request.low_rank();
  OVI_RETURN_IF_ERROR(
      ToCore(journal_words::kAllocations, request.allocation(), "allocation", &to.request.allocation));
  to.request.gpu_count = request.gpu_count();
  OVI_RETURN_IF_ERROR(ReadVramMode(request.vram_mode(), &to.request.vram_mode));
  to.request.vram_bytes_max = request.vram_bytes_max();
  to.spec = from.spec();
  to.warnings.assign(from.warnings().begin(), from.warnings().end());
  return to;
}

absl::StatusOr<core::Change> Read(const pb::AttemptStarted& from) {
  core::AttemptStarted to{.attempt = Read(from.attempt()),
                          .at = from.at(),
                          .group = from.group(),
                          .node = from.node(),
                          .gpu_indices = {from.gpu_indices().begin(), from.gpu_indices().end()},
                          .bytes_per_rank = from.bytes_per_rank(),
                          .warm = from.warm()};
  OVI_RETURN_IF_ERROR(ReadVramMode(from.vram_mode(), &to.vram_mode));
  return to;
}

absl::StatusOr<core::Change> Read(const pb::AttemptAdvanced& from) {
  core::AttemptAdvanced to{.attempt = Read(from.attempt()), .at = from.at()};
  OVI_RETURN_IF_ERROR(ToCore(journal_words::kJobStates, from.state(), "state", &to.state));
  return to;
}

absl::StatusOr<core::Change> Read(const pb::AttemptEnded& from) {
  core::AttemptEnded to{.attempt = Read(from.attempt()), .at = from.at()};
  OVI_RETURN_IF_ERROR(ToCore(journal_words::kAttemptEnds, from.end(), "end", &to.end));
  to.message = from.message();
  for (const pb::MemoryReport& report : from.memory()) {
    core::MemoryReport& out = to.memory.emplace_back();
    out.rank = report.rank();
    OVI_RETURN_IF_ERROR(ToCore(journal_words::kStages, report.stage(), "memory.stage", &out.stage));
    out.device_bytes_peak = report.device_bytes_peak();
    out.device_bytes_planned = report.device_bytes_planned();
    out.seconds = report.seconds();
    out.host_bytes_planned = report.host_bytes_planned();
  }
  return to;
}

absl::StatusOr<core::Change> Read(const pb::JobFinished& from) {
  core::JobFinished to{.job = from.job(), .at = from.at()};
  OVI_RETURN_IF_ERROR(ToCore(journal_words::kJobStates, from.state(), "state", &to.state));
  to.error = from.error();
  for (const pb::Artifact& artifact : from.artifacts()) {
    core::Artifact& out = to.artifacts.emplace_back();
    OVI_RETURN_IF_ERROR(ToCore(journal_words::kArtifactKinds, artifact.kind(), "artifacts.kind", &out.kind));
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
  // Its parts are many and small, and a transaction may have thousands of rows: they go onto the stack.
  alignas(std::max_align_t) char block[2048];
  google::protobuf::Arena arena(block, sizeof(block));
  pb::Change& message = *google::protobuf::Arena::CreateMessage<pb::Change>(&arena);
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
  // Multiply and fold, 8 bytes at a time (1.5 GB/s against FNV-1a's 0.4). Each step is a bijection of `hash`,
  // so one word that differs is never lost, and one bit that differs makes two at least.
  std::uint64_t hash = 0;
  const auto add = [&hash](std::uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15;  // 2^64 divided by the golden ratio
    hash ^= hash >> 32;
  };
  add(static_cast<std::uint64_t>(job));
  add(static_cast<std::uint64_t>(kind));
  add(payload.size());
  for (; !payload.empty(); payload.remove_prefix(std::min(payload.size(), sizeof(std::uint64_t)))) {
    std::uint64_t word = 0;
    std::memcpy(&word, payload.data(), std::min(payload.size(), sizeof(word)));
    add(word);
  }
  return static_cast<std::int64_t>(hash);
}

}  // namespace ovi
