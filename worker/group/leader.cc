#include "worker/group/leader.h"

#include <chrono>
#include <filesystem>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/cache_dir.h"
#include "base/format.h"
#include "base/log.h"
#include "base/status.h"
#include "worker/media/first_frame.h"
#include "worker/pipeline/clip_metadata.h"
#include "worker/pipeline/loras.h"
#include "worker/pipeline/low_rank_weights.h"
#include "worker/pipeline/mp4_sink.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

double SecondsSince(steady_clock::time_point begin) {
  return std::chrono::duration<double>(steady_clock::now() - begin).count();
}

v1::GroupExitCode ExitCodeOf(GroupOrder::Kind kind) {
  switch (kind) {
    case GroupOrder::Kind::kRejected:
      return v1::GROUP_EXIT_CODE_REJECTED;
    case GroupOrder::Kind::kSilence:
      return v1::GROUP_EXIT_CODE_COORDINATOR_LOST;
    default:
      return v1::GROUP_EXIT_CODE_OK;
  }
}

}  // namespace

absl::StatusOr<v1::GroupExitCode> Leader::Lead() {
  OVI_ASSIGN_OR_RETURN(const v1::GroupExitCode code, RunAttempts());
  const PeerOrder shut_down{.kind = PeerOrder::Kind::kShutDown, .exit_code = code};
  for (int rank = 1; rank < parts_.session.size(); ++rank) {
    OVI_RETURN_IF_ERROR(parts_.session.Send(rank, {MessageKind::kOrder}, Encode(shut_down)));
  }
  return code;
}

absl::StatusOr<v1::GroupExitCode> Leader::RunAttempts() {
  for (;;) {
    const GroupOrder order = parts_.link.WaitForOrder();
    if (order.kind != GroupOrder::Kind::kRun) {
      Log(LogLevel::kInfo, "group ends", {{"reason", order.reason}});
      return ExitCodeOf(order.kind);
    }
    const absl::Status status = RunOne(order);
    if (absl::IsDeadlineExceeded(status)) {
      Log(LogLevel::kError, "result not delivered", {{"reason", status.message()}});
      return v1::GROUP_EXIT_CODE_COORDINATOR_LOST;
    }
    OVI_RETURN_IF_ERROR(status);
  }
}

absl::Status Leader::RunOne(const GroupOrder& order) {
  const v1::AttemptRef& ref = order.run.attempt();
  parts_.link.Begin(ref);
  Attempt attempt{.run = order.run, .received_at = order.received_at};
  attempt.folder = absl::StrCat(parts_.group_dir, "/attempt-", ++sequence_);
  *attempt.finished.mutable_attempt() = ref;

  absl::Status outcome;
  OVI_RETURN_IF_ERROR(Compute(attempt, outcome));
  if (outcome.ok()) outcome = HandOver(attempt);
  attempt.finished.set_end(EndOf(outcome));
  if (!outcome.ok()) attempt.finished.set_message(OneLine(std::string(outcome.message())));
  LogEnd(attempt);
  // Whoever ends the group wants no word about the attempt; its files go all the same.
  absl::Status delivered;
  if (!parts_.link.ending()) delivered = parts_.link.Finish(attempt.finished);
  std::error_code ignored;
  fs::remove_all(attempt.folder, ignored);
  return absl::IsAborted(delivered) ? absl::OkStatus() : delivered;  // WaitForOrder has the reason
}

absl::Status Leader::Compute(Attempt& attempt, absl::Status& outcome) {
  const absl::StatusOr<Inputs> inputs = Prepare(attempt.run);
  if (!inputs.ok()) {
    outcome = inputs.status();
    return absl::OkStatus();
  }
  if (parts_.session.size() == 1) {
    outcome = Generate(attempt, *inputs, nullptr, nullptr);
    return absl::OkStatus();
  }
  const PeerOrder assist{
      .kind = PeerOrder::Kind::kAssist,
      .sequence = sequence_,
      .run = attempt.run.SerializeAsString(),
      .image = inputs->image ? FrameSize{inputs->image->height, inputs->image->width} : FrameSize{}};
  for (int rank = 1; rank < parts_.session.size(); ++rank) {
    OVI_RETURN_IF_ERROR(parts_.session.Send(rank, {MessageKind::kOrder}, Encode(assist)));
  }
  return ComputeTogether(attempt, *inputs, outcome);
}

absl::Status Leader::ComputeTogether(Attempt& attempt, const Inputs& inputs, absl::Status& outcome) {
  OVI_ASSIGN_OR_RETURN(const std::unique_ptr<RankGroup> ranks,
                       RankGroup::Make(parts_.world, inputs.request.topology, parts_.facts.rank_shares));
  PeerWatch watch(parts_.session, sequence_);
  // No sign of life while it lasts: where another rank stands still, the coordinator is to notice.
  parts_.world.SetInterruption([this, &watch]() -> absl::Status {
    if (parts_.link.interrupted()) return absl::CancelledError("cancelled");
    return watch.Interruption();
  });
  outcome = Generate(attempt, inputs, &watch, ranks.get());
  const absl::StatusOr<std::vector<PeerOutcome>> told =
      watch.Settle({.status = outcome, .stages = {}}, ranks->communicators());
  parts_.world.SetInterruption(nullptr);
  OVI_RETURN_IF_ERROR(told.status());
  for (int rank = 1; rank < parts_.session.size(); ++rank) {
    const PeerOutcome& other = (*told)[static_cast<std::size_t>(rank)];
    for (const StageReport& stage : other.stages) {
      *attempt.finished.add_memory() = MemoryOf(rank, stage, inputs.request.plan);
    }
    // We stopped because it had: its reason is the reason.
    if (absl::IsAborted(outcome) && !other.status.ok() && !absl::IsAborted(other.status)) {
      outcome = Annotate(other.status, absl::StrCat("rank ", rank));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Leader::Inputs> Leader::Prepare(const v1::RunAttempt& run) {
  Inputs inputs;
  std::optional<FrameSize> size;
  if (const std::string& sha256 = run.spec().first_frame_sha256(); !sha256.empty()) {
    OVI_ASSIGN_OR_RETURN(const std::string bytes,
                         DownloadInput(parts_.link, sha256, ImageLimits().file_bytes_max));
    const std::span<const std::uint8_t> view(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                             bytes.size());
    OVI_ASSIGN_OR_RETURN(inputs.image, DecodeImage(view, "first frame"));
    size = FrameSize{inputs.image->height, inputs.image->width};
  }
  OVI_ASSIGN_OR_RETURN(inputs.request, ResolveAttempt(run,
                                                      {.model_name = parts_.facts.model_name,
                                                       .model = parts_.engine.model(),
                                                       .settler = parts_.settler,
                                                       .world_size = parts_.session.size(),
                                                       .shares = parts_.facts.rank_shares,
                                                       .low_rank = parts_.low_rank},
                                                      size));
  OVI_ASSIGN_OR_RETURN(inputs.loras, OpenLoras(inputs.request.job.loras, parts_.engine.model()));
  for (const LoraAdapter& adapter : inputs.loras) {
    Log(adapter.unmatched.empty() ? LogLevel::kInfo : LogLevel::kWarning, "adapter",
        {{"match", adapter.unmatched.empty() ? DescribeMatch(adapter) : UnmatchedWarning(adapter)},
         {"strength", adapter.strength}});
  }
  if (!WantsLowRank(inputs.request.job)) return inputs;
  const auto go_on = [this](std::int64_t, std::int64_t) {
    parts_.link.Beat();
    return parts_.link.interrupted() ? absl::CancelledError("cancelled") : absl::OkStatus();
  };
  OVI_ASSIGN_OR_RETURN(inputs.fusion_weights,
                       FindLowRankWeights(parts_.engine.model(), DefaultCacheDir(), go_on));
  return inputs;
}

Control Leader::ControlOf(Attempt& attempt, PeerWatch* watch) {
  const auto report = [this, &attempt](const Progress& progress) {
    if (!std::exchange(attempt.started, true)) {
      Log(LogLevel::kInfo, "attempt started",
          {{"job", attempt.run.attempt().job_id()},
           {"attempt", attempt.run.attempt().attempt()},
           {"warm", sequence_ > 1},
           {"after_ms", SecondsSince(attempt.received_at) * 1e3}});
    }
    v1::AttemptProgress message;
    *message.mutable_attempt() = attempt.run.attempt();
    message.mutable_progress()->set_stage(ToProto(progress.stage));
    message.mutable_progress()->set_step(progress.step);
    message.mutable_progress()->set_steps(progress.steps);
    message.mutable_progress()->set_seconds_per_step(progress.seconds_per_step);
    for (v1::MemoryReport& memory : attempt.untold) *message.add_memory() = std::move(memory);
    attempt.untold.clear();
    parts_.link.Report(std::move(message));
  };
  return {.on_progress = report,
          .cancelled = &parts_.link.interrupted(),
          .interruption = [this, watch]() -> absl::Status {
            parts_.link.Beat();
            return watch == nullptr ? absl::OkStatus() : watch->Interruption();
          }};
}

absl::Status Leader::Generate(Attempt& attempt, const Inputs& inputs, PeerWatch* watch, RankGroup* ranks) {
  const AttemptRequest& request = inputs.request;
  std::error_code error;
  fs::create_directories(attempt.folder, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat(attempt.folder, ": cannot make this folder: ", error.message()));
  }
  Log(LogLevel::kInfo, "memory planned",
      {{"job", attempt.run.attempt().job_id()},
       {"vram_mode", ToString(request.clip.vram_mode)},
       {"low_rank", request.clip.memory.block_matrices.low_rank},
       {"bytes_planned", request.plan.bytes_peak},
       {"host_bytes_planned", request.plan.host_bytes},
       {"decode_strips", request.clip.memory.decode_strips}});
  ClipInputs clip_inputs;
  clip_inputs.loras = inputs.loras;
  clip_inputs.fusion_weights = inputs.fusion_weights;
  clip_inputs.on_stage = [&](const StageReport& stage) {
    *attempt.finished.add_memory() = attempt.untold.emplace_back(MemoryOf(0, stage, request.plan));
  };
  if (inputs.image) {
    clip_inputs.image = FirstFrameTensor(*inputs.image, request.clip.size,
                                         request.clip.policy == PrecisionPolicy::kAsExecuted);
  }
  Mp4Sink sink(attempt.folder + "/video.mp4",
               ClipMetadata(parts_.engine.model().spec, request.job, request.clip, request.job.prompts[0]));
  attempt.files = {{v1::ARTIFACT_KIND_VIDEO, "video.mp4", sink.path()},
                   {v1::ARTIFACT_KIND_POSTER, "poster.png", sink.poster_path()},
                   {v1::ARTIFACT_KIND_CONTACT_SHEET, "contact_sheet.png", sink.sheet_path()}};
  return parts_.engine.Generate(request.clip, clip_inputs, ControlOf(attempt, watch), sink, ranks).status();
}

absl::Status Leader::HandOver(Attempt& attempt) {
  for (const ArtifactFile& file : attempt.files) {
    OVI_ASSIGN_OR_RETURN(*attempt.finished.add_artifacts(),
                         UploadArtifact(parts_.link, attempt.run.attempt(), file));
  }
  return absl::OkStatus();
}

v1::MemoryReport Leader::MemoryOf(int rank, const StageReport& stage, const MemoryPlan& plan) {
  v1::MemoryReport report;
  report.set_rank(rank);
  report.set_stage(ToProto(stage.stage));
  report.set_device_bytes_peak(stage.arena_bytes_peak);
  report.set_device_bytes_planned(PlannedBytes(plan, stage.stage));
  report.set_host_bytes_planned(plan.host_bytes);
  report.set_seconds(stage.seconds);
  return report;
}

void Leader::LogEnd(const Attempt& attempt) const {
  Log(attempt.finished.end() == v1::ATTEMPT_END_COMPLETED ? LogLevel::kInfo : LogLevel::kWarning,
      "attempt ended",
      {{"job", attempt.run.attempt().job_id()},
       {"attempt", attempt.run.attempt().attempt()},
       {"end", v1::AttemptEnd_Name(attempt.finished.end())},
       {"message", attempt.finished.message()},
       {"warm", sequence_ > 1},
       {"seconds", SecondsSince(attempt.received_at)}});
  for (const v1::MemoryReport& memory : attempt.finished.memory()) {
    Log(LogLevel::kInfo, "stage",
        {{"rank", memory.rank()},
         {"stage", v1::Stage_Name(memory.stage())},
         {"seconds", memory.seconds()},
         {"bytes_peak", memory.device_bytes_peak()}});
  }
}

}  // namespace ovi
