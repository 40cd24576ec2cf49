#include "coordinator/rpc/jobs_service.h"

#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "coordinator/core/placement.h"
#include "coordinator/rpc/artifact_calls.h"
#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/job_view.h"
#include "coordinator/rpc/status.h"
#include "worker/job/job_proto.h"

namespace ovi {
namespace {

// Of data_dir; below it nothing is accepted.
constexpr std::int64_t kDiskBytesFreeMin = std::int64_t{64} << 20;

std::string_view ReasonOf(const absl::Status& status) {
  return absl::IsAlreadyExists(status)        ? "REQUEST_ID_REUSED"
         : absl::IsFailedPrecondition(status) ? "CANNOT_RUN"
         : absl::IsResourceExhausted(status)  ? "NO_ROOM"
                                              : "REFUSED";
}

// Sends the job whenever it changes, until it has ended. A slow client misses steps in between, never the
// last. Owns itself.
class Watcher final : public grpc::ServerWriteReactor<v1::WatchJobResponse> {
 public:
  Watcher(Controller& controller, const std::string& job_id) : controller_(controller) {
    const absl::StatusOr<core::JobId> id = ParseJobId(job_id);
    if (!id.ok()) {
      Finish(ToGrpcStatus(id.status()));
      return;
    }
    id_ = *id;
    subscription_ = controller_.watches().Subscribe(id_, [this] { OnChange(); });
    OnChange();
  }

 private:
  void OnChange() {
    const std::lock_guard lock(mutex_);
    changed_ = true;
    if (!writing_) SendNext();
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) {
      End(grpc::Status::CANCELLED);
    } else if (last_) {
      End(grpc::Status::OK);
    } else if (changed_) {
      SendNext();
    }
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    if (!writing_) End(grpc::Status::CANCELLED);
  }

  // With mutex_ held from here on.
  void SendNext() {
    if (ended_) return;
    changed_ = false;
    absl::StatusOr<v1::Job> job =
        controller_.Read([this](const core::State& state) { return ViewJob(state, id_); });
    if (!job.ok()) {
      End(ToGrpcStatus(job.status()));
      return;
    }
    last_ = job->state() >= v1::JOB_STATE_COMPLETED;
    *response_.mutable_job() = *std::move(job);
    writing_ = true;
    StartWrite(&response_);
  }

  void End(const grpc::Status& status) {
    if (std::exchange(ended_, true)) return;
    Finish(status);
  }

  void OnDone() override { delete this; }

  Controller& controller_;
  core::JobId id_ = 0;
  std::mutex mutex_;
  bool changed_ = false;
  bool writing_ = false;
  bool last_ = false;  // what is being written is the job's end
  bool ended_ = false;
  v1::WatchJobResponse response_;
  std::unique_ptr<WatchHub::Subscription> subscription_;  // last: ends before what its callback uses
};

constexpr std::int64_t kLogBytes = 64 << 10;
constexpr std::int64_t kLogBytesMax = 1 << 20;

// Where the output of an attempt is kept.
struct LogPlace {
  v1::Attempt attempt;
  std::string agent_instance;
};

absl::StatusOr<LogPlace> PlaceOfLog(const core::State& state, const v1::GetAttemptLogRequest& request) {
  OVI_ASSIGN_OR_RETURN(const core::JobId id, ParseJobId(request.job_id()));
  OVI_ASSIGN_OR_RETURN(const v1::Job job, ViewJob(state, id));
  if (job.attempts().empty()) {
    return absl::FailedPreconditionError(absl::StrCat("job ", id, " has not been tried yet",
                                                      job.pending_reason().empty() ? "" : ": ",
                                                      job.pending_reason()));
  }
  const int number = request.attempt() == 0 ? job.attempts_size() : request.attempt();
  if (number < 1 || number > job.attempts_size()) {
    return absl::NotFoundError(absl::StrCat("job ", id, " has attempts 1 to ", job.attempts_size(),
                                            ", there is no attempt ", number));
  }
  LogPlace place{.attempt = job.attempts(number - 1), .agent_instance = ""};
  const auto node = state.nodes.find(place.attempt.node());
  if (node != state.nodes.end()) place.agent_instance = node->second.facts.instance_id;
  return place;
}

// Waits for the agent, no longer than the client does. Owns itself: gRPC calls OnCancel and OnDone only after
// the constructor.
class LogFetcher final : public grpc::ServerUnaryReactor {
 public:
  LogFetcher(GroupLogs& logs, LogPlace place, std::int64_t bytes_max, v1::GetAttemptLogResponse& response)
      : logs_(logs) {
    *response.mutable_attempt() = std::move(place.attempt);
    request_ = logs_.Fetch(response.attempt().node(), place.agent_instance, response.attempt().group_id(),
                           bytes_max, [this, &response](const absl::StatusOr<std::string>& text) {
                             if (text.ok()) response.set_text(*text);
                             Finish(ToGrpcStatus(text.status()));
                           });
  }

 private:
  void OnCancel() override {
    if (logs_.Forget(request_)) Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }

  GroupLogs& logs_;
  std::uint64_t request_ = 0;
};

}  // namespace

absl::Status JobsService::CheckDisk() const {
  std::error_code error;
  const auto space = std::filesystem::space(parts_.data_dir, error);
  const auto available = static_cast<std::int64_t>(space.available);
  if (error || available >= kDiskBytesFreeMin) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the coordinator's disk is full: ", available,
                                                   " bytes free, kept free: ", kDiskBytesFreeMin));
}

HasInput JobsService::InputLookup() const {
  return [this](const std::string& sha256) { return parts_.artifacts.HasInput(sha256); };
}

grpc::ServerUnaryReactor* JobsService::Submit(grpc::CallbackServerContext& context, Clock::time_point begin,
                                              Admission admission,
                                              std::vector<v1::SubmitJobResponse*> responses) {
  const auto measured = [this, begin, count = responses.size()](bool accepted) {
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    parts_.metrics.OnSubmit(seconds.count(), accepted ? 0 : count);
  };
  const grpc::Status refused = admission.violations.empty() ? ToGrpcStatus(CheckDisk(), "NO_ROOM")
                                                            : InvalidFields(admission.violations);
  if (!refused.ok()) {
    measured(false);
    return Answer(context, refused);
  }
  for (std::size_t i = 0; i < responses.size(); ++i) {
    for (const std::string& warning : admission.jobs[i].warnings) responses[i]->add_warnings(warning);
  }
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  parts_.controller.Post(core::JobsSubmitted{std::move(admission.jobs)},
                         [reactor, responses = std::move(responses), measured](const core::Reply& ids) {
                           measured(ids.ok());
                           for (std::size_t i = 0; ids.ok() && i < ids->size(); ++i)
                             responses[i]->set_job_id(absl::StrCat((*ids)[i]));
                           reactor->Finish(ToGrpcStatus(ids.status(), ReasonOf(ids.status())));
                         });
  return reactor;
}

grpc::ServerUnaryReactor* JobsService::SubmitJob(grpc::CallbackServerContext* context,
                                                 const v1::SubmitJobRequest* request,
                                                 v1::SubmitJobResponse* response) {
  const Clock::time_point begin = Clock::now();
  return Submit(*context, begin, Admit(*request, InputLookup()), {response});
}

grpc::ServerUnaryReactor* JobsService::SubmitJobs(grpc::CallbackServerContext* context,
                                                  const v1::SubmitJobsRequest* request,
                                                  v1::SubmitJobsResponse* response) {
  const Clock::time_point begin = Clock::now();
  Admission admission = Admit(*request, InputLookup());
  std::vector<v1::SubmitJobResponse*> responses;
  // Not for as many as anybody sends.
  const int count = std::min(request->requests_size(), kBatchJobsMax);
  for (int i = 0; i < count; ++i) responses.push_back(response->add_responses());
  return Submit(*context, begin, std::move(admission), std::move(responses));
}

grpc::ServerUnaryReactor* JobsService::GetJob(grpc::CallbackServerContext* context,
                                              const v1::GetJobRequest* request,
                                              v1::GetJobResponse* response) {
  absl::StatusOr<v1::Job> job =
      parts_.controller.Read([request](const core::State& state) -> absl::StatusOr<v1::Job> {
        OVI_ASSIGN_OR_RETURN(const core::JobId id, ParseJobId(request->job_id()));
        return ViewJob(state, id);
      });
  if (!job.ok()) return Answer(*context, ToGrpcStatus(job.status()));
  *response->mutable_job() = *std::move(job);
  return Answer(*context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* JobsService::ListJobs(grpc::CallbackServerContext* context,
                                                const v1::ListJobsRequest* request,
                                                v1::ListJobsResponse* response) {
  const absl::Status listed = parts_.controller.Read(
      [request, response](const core::State& state) { return ViewPage(state, *request, *response); });
  return Answer(*context, ToGrpcStatus(listed));
}

grpc::ServerWriteReactor<v1::WatchJobResponse>* JobsService::WatchJob(
    grpc::CallbackServerContext* /*context*/, const v1::WatchJobRequest* request) {
  return new Watcher(parts_.controller, request->job_id());
}

grpc::ServerUnaryReactor* JobsService::CancelJob(grpc::CallbackServerContext* context,
                                                 const v1::CancelJobRequest* request,
                                                 v1::CancelJobResponse* response) {
  const absl::StatusOr<core::JobId> id = ParseJobId(request->job_id());
  if (!id.ok()) return Answer(*context, ToGrpcStatus(id.status()));
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  parts_.controller.Post(
      core::CancelAsked{.job = *id}, [this, id = *id, reactor, response](const core::Reply& asked) {
        absl::Status status = asked.status();
        if (asked.ok()) {
          absl::StatusOr<v1::Job> job =
              parts_.controller.Read([id](const core::State& state) { return ViewJob(state, id); });
          status = job.status();
          if (job.ok()) *response->mutable_job() = *std::move(job);
        }
        reactor->Finish(ToGrpcStatus(status));
      });
  return reactor;
}

grpc::ServerUnaryReactor* JobsService::PlanJob(grpc::CallbackServerContext* context,
                                               const v1::PlanJobRequest* request,
                                               v1::PlanJobResponse* response) {
  std::vector<v1::FieldViolation> violations;
  const std::optional<AdmittedSpec> admitted = AdmitSpec(request->spec(), "spec.", InputLookup(), violations);
  if (!admitted) return Answer(*context, InvalidFields(violations));
  for (const std::string& warning : admitted->warnings) response->add_warnings(warning);
  const std::vector<core::Option> options = parts_.controller.Read(
      [&admitted](const core::State& state) { return core::Options(state, RequestOf(admitted->spec)); });
  for (const core::Option& option : options) *response->add_options() = ToProto(option);
  return Answer(*context, grpc::Status::OK);
}

grpc::ServerWriteReactor<v1::DownloadArtifactResponse>* JobsService::DownloadArtifact(
    grpc::CallbackServerContext* /*context*/, const v1::DownloadArtifactRequest* request) {
  v1::DownloadArtifactResponse first;
  const auto open = [&]() -> absl::StatusOr<StoredFile> {
    OVI_ASSIGN_OR_RETURN(const core::JobId id, ParseJobId(request->job_id()));
    OVI_ASSIGN_OR_RETURN(const v1::Job job, parts_.controller.Read([id](const core::State& state) {
      return ViewJob(state, id);
    }));
    for (const v1::Artifact& artifact : job.artifacts()) {
      if (artifact.file_name() != request->file_name()) continue;
      *first.mutable_artifact() = artifact;
      return parts_.artifacts.OpenForRead(id, artifact.file_name());
    }
    return absl::NotFoundError(absl::StrCat("job ", id, ", which is ", v1::JobState_Name(job.state()),
                                            ", has no file ", Quoted(request->file_name())));
  };
  absl::StatusOr<StoredFile> file = open();
  return new FileSender<v1::DownloadArtifactResponse>(
      std::move(file),
      [](std::string piece, v1::DownloadArtifactResponse& response) { response.set_data(std::move(piece)); },
      std::move(first));
}

grpc::ServerUnaryReactor* JobsService::GetAttemptLog(grpc::CallbackServerContext* context,
                                                     const v1::GetAttemptLogRequest* request,
                                                     v1::GetAttemptLogResponse* response) {
  if (request->size_bytes_max() < 0 || request->size_bytes_max() > kLogBytesMax) {
    return Answer(
        *context,
        InvalidFields({Violation("size_bytes_max", absl::StrCat("must be 0 to ", kLogBytesMax, ", got ",
                                                                request->size_bytes_max()))}));
  }
  const std::int64_t bytes_max = request->size_bytes_max() == 0 ? kLogBytes : request->size_bytes_max();
  absl::StatusOr<LogPlace> place =
      parts_.controller.Read([request](const core::State& state) { return PlaceOfLog(state, *request); });
  if (!place.ok()) return Answer(*context, ToGrpcStatus(place.status()));
  return new LogFetcher(parts_.logs, *std::move(place), bytes_max, *response);
}

grpc::ServerReadReactor<v1::UploadInputRequest>* JobsService::UploadInput(
    grpc::CallbackServerContext* context, v1::UploadInputResponse* response) {
  return ReceiveInput(*context, parts_.artifacts, *response);
}

}  // namespace ovi
