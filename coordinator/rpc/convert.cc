#include "coordinator/rpc/convert.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "worker/job/job_proto.h"
#include "worker/job/model_choice.h"

namespace ovi {
namespace {

// Pairs of equal meaning; both directions read one table.
template <typename Core, typename Proto, std::size_t N>
struct EnumTable {
  std::array<std::pair<Core, Proto>, N> rows;

  Proto ToProto(Core value) const {
    for (const auto& [core, proto] : rows) {
      if (core == value) return proto;
    }
    return Proto{};
  }
  std::optional<Core> FromProto(Proto value) const {
    for (const auto& [core, proto] : rows) {
      if (proto == value) return core;
    }
    return std::nullopt;
  }
};

constexpr EnumTable<core::JobState, v1::JobState, 7> kJobStates{
    {{{core::JobState::kPending, v1::JOB_STATE_PENDING},
      {core::JobState::kConfiguring, v1::JOB_STATE_CONFIGURING},
      {core::JobState::kRunning, v1::JOB_STATE_RUNNING},
      {core::JobState::kCompleting, v1::JOB_STATE_COMPLETING},
      {core::JobState::kCompleted, v1::JOB_STATE_COMPLETED},
      {core::JobState::kFailed, v1::JOB_STATE_FAILED},
      {core::JobState::kCancelled, v1::JOB_STATE_CANCELLED}}}};

constexpr EnumTable<core::AttemptEnd, v1::AttemptEnd, 12> kEnds{
    {{{core::AttemptEnd::kNone, v1::ATTEMPT_END_UNSPECIFIED},
      {core::AttemptEnd::kCompleted, v1::ATTEMPT_END_COMPLETED},
      {core::AttemptEnd::kOutOfMemory, v1::ATTEMPT_END_OUT_OF_MEMORY},
      {core::AttemptEnd::kNodeFail, v1::ATTEMPT_END_NODE_FAIL},
      {core::AttemptEnd::kGpuError, v1::ATTEMPT_END_GPU_ERROR},
      {core::AttemptEnd::kWorkerCrash, v1::ATTEMPT_END_WORKER_CRASH},
      {core::AttemptEnd::kTimeout, v1::ATTEMPT_END_TIMEOUT},
      {core::AttemptEnd::kLaunchFailed, v1::ATTEMPT_END_LAUNCH_FAILED},
      {core::AttemptEnd::kBadInput, v1::ATTEMPT_END_BAD_INPUT},
      {core::AttemptEnd::kPreempted, v1::ATTEMPT_END_PREEMPTED},
      {core::AttemptEnd::kCancelled, v1::ATTEMPT_END_CANCELLED},
      {core::AttemptEnd::kNodeNotReady, v1::ATTEMPT_END_NODE_NOT_READY}}}};

constexpr EnumTable<core::Stage, v1::Stage, 4> kStages{{{{core::Stage::kNone, v1::STAGE_UNSPECIFIED},
                                                         {core::Stage::kEncode, v1::STAGE_ENCODE},
                                                         {core::Stage::kDenoise, v1::STAGE_DENOISE},
                                                         {core::Stage::kDecode, v1::STAGE_DECODE}}}};

constexpr EnumTable<core::ArtifactKind, v1::ArtifactKind, 3> kKinds{
    {{{core::ArtifactKind::kVideo, v1::ARTIFACT_KIND_VIDEO},
      {core::ArtifactKind::kPoster, v1::ARTIFACT_KIND_POSTER},
      {core::ArtifactKind::kContactSheet, v1::ARTIFACT_KIND_CONTACT_SHEET}}}};

}  // namespace

absl::StatusOr<core::JobId> ParseJobId(std::string_view text) {
  core::JobId id = 0;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &id) || id <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("job_id must be a job's number, got ", Quoted(text)));
  }
  return id;
}

v1::JobState ToProto(core::JobState state) {
  return kJobStates.ToProto(state);
}

v1::Progress ToProto(const core::Progress& progress) {
  v1::Progress out;
  out.set_stage(kStages.ToProto(progress.stage));
  out.set_step(progress.step);
  out.set_steps(progress.steps);
  out.set_seconds_per_step(progress.seconds_per_step);
  return out;
}

v1::Artifact ToProto(const core::Artifact& artifact) {
  v1::Artifact out;
  out.set_kind(kKinds.ToProto(artifact.kind));
  out.set_file_name(artifact.file_name);
  out.set_sha256(artifact.sha256);
  out.set_size_bytes(artifact.size_bytes);
  return out;
}

v1::AttemptRef ToProto(const core::AttemptRef& attempt) {
  v1::AttemptRef out;
  out.set_job_id(absl::StrCat(attempt.job));
  out.set_attempt(attempt.attempt);
  return out;
}

v1::Attempt ToProto(const core::Attempt& attempt) {
  v1::Attempt out;
  out.set_number(attempt.number);
  out.set_node(attempt.node);
  for (const int index : attempt.gpu_indices) out.add_gpu_indices(index);
  out.set_group_id(attempt.group);
  out.set_warm(attempt.warm);
  out.set_started_at_ms(attempt.started_at);
  out.set_ended_at_ms(attempt.ended_at);
  out.set_end(kEnds.ToProto(attempt.end));
  out.set_message(attempt.message);
  if (attempt.vram_mode != VramMode::kAuto) out.set_vram_mode(ToProto(attempt.vram_mode));
  for (const core::MemoryReport& report : attempt.memory) {
    v1::MemoryReport& memory = *out.add_memory();
    memory.set_rank(report.rank);
    memory.set_stage(kStages.ToProto(report.stage));
    memory.set_device_bytes_peak(report.device_bytes_peak);
    memory.set_device_bytes_planned(report.device_bytes_planned);
    memory.set_seconds(report.seconds);
    memory.set_host_bytes_planned(report.host_bytes_planned);
  }
  return out;
}

v1::Job ToProto(const core::Job& job, const std::string& pending_reason) {
  v1::Job out;
  out.set_id(absl::StrCat(job.id));
  out.mutable_spec()->ParseFromString(job.spec);
  out.set_state(kJobStates.ToProto(job.state));
  if (job.state == core::JobState::kPending) {
    out.set_pending_reason(pending_reason.empty() ? job.pending_reason : pending_reason);
  }
  out.set_error(job.error);
  out.set_submitted_at_ms(job.submitted_at);
  out.set_finished_at_ms(job.finished_at);
  if (!job.attempts.empty()) out.set_started_at_ms(job.attempts.front().started_at);
  for (const core::Attempt& attempt : job.attempts) {
    *out.add_attempts() = ToProto(attempt);
    if (attempt.end != core::AttemptEnd::kNone) out.set_last_end(kEnds.ToProto(attempt.end));
  }
  if (job.progress.stage != core::Stage::kNone) *out.mutable_progress() = ToProto(job.progress);
  for (const core::Artifact& artifact : job.artifacts) *out.add_artifacts() = ToProto(artifact);
  out.set_cancel_requested(job.cancel_requested);
  for (const std::string& warning : job.warnings) out.add_warnings(warning);
  return out;
}

v1::PlanOption ToProto(const core::Option& option) {
  v1::PlanOption out;
  out.set_world_size(option.world_size);
  out.set_bytes_per_rank(option.bytes_per_rank);
  out.set_fits_now(option.fits_now);
  out.set_fits_ever(option.fits_ever);
  out.set_node(option.node);
  for (const int index : option.gpu_indices) out.add_gpu_indices(index);
  out.set_reason(option.reason);
  out.set_vram_mode(ToProto(option.vram_mode));
  return out;
}

core::AttemptRef FromProto(const v1::AttemptRef& attempt) {
  const absl::StatusOr<core::JobId> job = ParseJobId(attempt.job_id());
  if (!job.ok() || attempt.attempt() <= 0) return {};
  return {*job, attempt.attempt()};
}

core::Progress FromProto(const v1::Progress& progress) {
  return {.stage = kStages.FromProto(progress.stage()).value_or(core::Stage::kNone),
          .step = progress.step(),
          .steps = progress.steps(),
          .seconds_per_step = progress.seconds_per_step()};
}

core::MemoryReport FromProto(const v1::MemoryReport& report) {
  return {.rank = report.rank(),
          .stage = kStages.FromProto(report.stage()).value_or(core::Stage::kNone),
          .device_bytes_peak = report.device_bytes_peak(),
          .device_bytes_planned = report.device_bytes_planned(),
          .seconds = report.seconds(),
          .host_bytes_planned = report.host_bytes_planned()};
}

std::vector<core::MemoryReport> FromProto(
    const google::protobuf::RepeatedPtrField<v1::MemoryReport>& reports) {
  std::vector<core::MemoryReport> out;
  for (const v1::MemoryReport& report : reports) out.push_back(FromProto(report));
  return out;
}

core::AttemptEnd FromProto(v1::AttemptEnd end) {
  return kEnds.FromProto(end).value_or(core::AttemptEnd::kWorkerCrash);
}

absl::StatusOr<core::Artifact> FromProto(const v1::Artifact& artifact) {
  const std::optional<core::ArtifactKind> kind = kKinds.FromProto(artifact.kind());
  if (!kind) return absl::InvalidArgumentError("artifact.kind must be video, poster or contact sheet");
  if (artifact.size_bytes() < 0)
    return absl::InvalidArgumentError("artifact.size_bytes must not be negative");
  return core::Artifact{.kind = *kind,
                        .file_name = artifact.file_name(),
                        .sha256 = artifact.sha256(),
                        .size_bytes = artifact.size_bytes()};
}

core::JobRequest RequestOf(const v1::JobSpec& spec) {
  core::JobRequest request;
  request.user = spec.user();
  request.priority = spec.priority();
  request.model_name = spec.model_name();
  request.reference = spec.precision() == v1::PRECISION_REFERENCE;
  request.low_rank = WantsLowRank(spec);
  request.vram_mode = VramModeOf(spec.vram_mode());
  request.vram_bytes_max = spec.max_vram_bytes();
  switch (spec.gpu_allocation()) {
    case v1::GPU_ALLOCATION_SINGLE:
      request.allocation = core::Allocation::kSingle;
      request.gpu_count = 1;
      break;
    case v1::GPU_ALLOCATION_MULTI:
      request.allocation = core::Allocation::kMulti;
      request.gpu_count = spec.gpu_count();
      break;
    case v1::GPU_ALLOCATION_FSDP:
      request.allocation = core::Allocation::kFsdp;
      request.gpu_count = spec.gpu_count();
      break;
    default:
      request.allocation = core::Allocation::kAuto;
  }
  return request;
}

void Complete(v1::JobSpec& spec, std::vector<std::string>& warnings) {
  if (spec.mode() == v1::MODE_UNSPECIFIED) {
    spec.set_mode(spec.first_frame_sha256().empty() ? v1::MODE_T2V : v1::MODE_I2V);
  }
  std::optional<Size> size;
  if (spec.has_size()) size = Size{spec.size().height(), spec.size().width()};
  std::optional<double> seconds;
  if (spec.has_duration_seconds()) seconds = spec.duration_seconds();
  const absl::StatusOr<ModelChoice> choice = ChooseModel(spec.model_name(), size, seconds);
  if (choice.ok()) {
    spec.set_model_name(choice->model_name.empty() ? std::string(kDefaultModelName) : choice->model_name);
    if (spec.mode() == v1::MODE_T2V) {
      for (const std::string& warning : choice->warnings) warnings.push_back(absl::StrCat("size ", warning));
    }
  }
}

}  // namespace ovi
