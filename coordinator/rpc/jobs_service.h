// What clients do with jobs.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "coordinator/controller/controller.h"
#include "coordinator/rpc/admission.h"
#include "coordinator/rpc/arena_messages.h"
#include "coordinator/rpc/group_logs.h"
#include "ovi/v1/jobs.grpc.pb.h"

namespace ovi {

// Borrows its parts; they outlive the server.
class JobsService final : public v1::Jobs::CallbackService {
 public:
  struct Parts {
    Controller& controller;
    ArtifactStore& artifacts;
    Metrics& metrics;
    GroupLogs& logs;
    std::string data_dir;
  };
  explicit JobsService(Parts parts) : parts_(std::move(parts)) {
    SetMessageAllocatorFor_SubmitJobs(&batch_messages_);
  }

  grpc::ServerUnaryReactor* SubmitJob(grpc::CallbackServerContext* context,
                                      const v1::SubmitJobRequest* request,
                                      v1::SubmitJobResponse* response) override;
  grpc::ServerUnaryReactor* SubmitJobs(grpc::CallbackServerContext* context,
                                       const v1::SubmitJobsRequest* request,
                                       v1::SubmitJobsResponse* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::GetJobResponse* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext* context,
                                                           const v1::WatchJobRequest* request) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context,
                                      const v1::CancelJobRequest* request,
                                      v1::CancelJobResponse* response) override;
  grpc::ServerUnaryReactor* PlanJob(grpc::CallbackServerContext* context, const v1::PlanJobRequest* request,
                                    v1::PlanJobResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadArtifactResponse>* DownloadArtifact(
      grpc::CallbackServerContext* context, const v1::DownloadArtifactRequest* request) override;
  grpc::ServerUnaryReactor* GetAttemptLog(grpc::CallbackServerContext* context,
                                          const v1::GetAttemptLogRequest* request,
                                          v1::GetAttemptLogResponse* response) override;
  grpc::ServerReadReactor<v1::UploadInputRequest>* UploadInput(grpc::CallbackServerContext* context,
                                                               v1::UploadInputResponse* response) override;

 private:
  using Clock = std::chrono::steady_clock;

  absl::Status CheckDisk() const;
  HasInput InputLookup() const;
  // All of `admission`, or nothing. `responses`: one for each job that was asked for; `begin`: when that was.
  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext& context, Clock::time_point begin,
                                   Admission admission, std::vector<v1::SubmitJobResponse*> responses);

  Parts parts_;
  ArenaMessages<v1::SubmitJobsRequest, v1::SubmitJobsResponse> batch_messages_;
};

}  // namespace ovi
