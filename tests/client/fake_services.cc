// What the fake coordinator answers.
#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/sha256.h"
#include "tests/client/fake_state.h"

namespace ovi::client {
namespace {

using State = FakeCluster::State;

grpc::Status NoSuchJob(const std::string& id) {
  return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no job ", id)};
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_COMPLETED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

class FakeJobs final : public v1::Jobs::Service {
 public:
  explicit FakeJobs(State& state) : state_(state) {}

  grpc::Status SubmitJobs(grpc::ServerContext* context, const v1::SubmitJobsRequest* request,
                          v1::SubmitJobsResponse* response) override {
    if (grpc::Status status = state_.Begin("SubmitJobs", *context); !status.ok()) return status;
    {
      const std::lock_guard lock(state_.mutex);
      for (const v1::SubmitJobRequest& one : request->requests()) {
        state_.submits.push_back(one);
        std::string& id = state_.job_of_request[one.request_id()];
        if (id.empty()) {
          v1::Job job;
          *job.mutable_spec() = one.spec();
          job.set_state(v1::JOB_STATE_PENDING);
          job.set_submitted_at_ms(NowMs());
          id = state_.Add(std::move(job));
        }
        v1::SubmitJobResponse& answer = *response->add_responses();
        answer.set_job_id(id);
        if (one.spec().vram_mode() == v1::VRAM_MODE_FP8) answer.add_warnings("fp8 is not there yet");
      }
    }
    return state_.End("SubmitJobs");
  }

  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::GetJobResponse* response) override {
    if (grpc::Status status = state_.Begin("GetJob", *context); !status.ok()) return status;
    {
      const std::lock_guard lock(state_.mutex);
      const v1::Job* job = state_.Find(request->job_id());
      if (job == nullptr) return NoSuchJob(request->job_id());
      *response->mutable_job() = *job;
    }
    return state_.End("GetJob");
  }

  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    if (grpc::Status status = state_.Begin("ListJobs", *context); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex);
    state_.lists.push_back(*request);
    const int before = request->page_token().empty() ? 1 << 30 : std::stoi(request->page_token());
    for (auto entry = state_.jobs.rbegin(); entry != state_.jobs.rend(); ++entry) {
      const v1::Job& job = entry->second;
      const auto& states = request->states();
      if (entry->first >= before) continue;
      if (!request->user().empty() && job.spec().user() != request->user()) continue;
      if (!states.empty() && std::find(states.begin(), states.end(), job.state()) == states.end()) continue;
      if (response->jobs_size() == request->page_size()) {
        response->set_next_page_token(response->jobs().rbegin()->id());
        break;
      }
      *response->add_jobs() = job;
    }
    return grpc::Status::OK;
  }

  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    if (grpc::Status status = state_.Begin("WatchJob", *context); !status.ok()) return status;
    if (grpc::Status status = state_.End("WatchJob"); !status.ok()) return status;
    const int number = std::stoi(request->job_id());
    int version_seen = -1;
    for (;;) {
      v1::WatchJobResponse response;
      {
        std::unique_lock lock(state_.mutex);
        while (!state_.stopping && !context->IsCancelled() && state_.versions[number] == version_seen) {
          state_.changed.wait_for(lock, std::chrono::milliseconds(50));  // nobody tells of a cancelled call
        }
        if (state_.stopping || context->IsCancelled()) return {grpc::StatusCode::CANCELLED, "stopping"};
        version_seen = state_.versions[number];
        *response.mutable_job() = state_.jobs.at(number);
      }
      if (!writer->Write(response) || IsFinal(response.job().state())) return grpc::Status::OK;
    }
  }

  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::CancelJobResponse* response) override {
    if (grpc::Status status = state_.Begin("CancelJob", *context); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex);
    v1::Job* job = state_.Find(request->job_id());
    if (job == nullptr) return NoSuchJob(request->job_id());
    if (!IsFinal(job->state())) job->set_state(v1::JOB_STATE_CANCELLED);
    *response->mutable_job() = *job;
    return grpc::Status::OK;
  }

  grpc::Status GetAttemptLog(grpc::ServerContext* context, const v1::GetAttemptLogRequest* request,
                             v1::GetAttemptLogResponse* response) override {
    if (grpc::Status status = state_.Begin("GetAttemptLog", *context); !status.ok()) return status;
    {
      const std::lock_guard lock(state_.mutex);
      const v1::Job* job = state_.Find(request->job_id());
      if (job == nullptr) return NoSuchJob(request->job_id());
      const int number = request->attempt() == 0 ? job->attempts_size() : request->attempt();
      if (number > job->attempts_size()) return {grpc::StatusCode::NOT_FOUND, "no such attempt"};
      *response->mutable_attempt() = job->attempts(number - 1);
      response->set_text(state_.output.substr(
          0, request->size_bytes_max() == 0 ? std::string::npos : request->size_bytes_max()));
    }
    return state_.End("GetAttemptLog");
  }

  grpc::Status PlanJob(grpc::ServerContext* context, const v1::PlanJobRequest* request,
                       v1::PlanJobResponse* response) override {
    if (grpc::Status status = state_.Begin("PlanJob", *context); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex);
    state_.planned.push_back(request->spec());
    *response = state_.plan;
    return grpc::Status::OK;
  }

  grpc::Status DownloadArtifact(grpc::ServerContext* context, const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::DownloadArtifactResponse>* writer) override {
    if (grpc::Status status = state_.Begin("DownloadArtifact", *context); !status.ok()) return status;
    std::string bytes;
    {
      const std::lock_guard lock(state_.mutex);
      const auto file = state_.files.find({request->job_id(), request->file_name()});
      if (file == state_.files.end()) return {grpc::StatusCode::NOT_FOUND, "no such file"};
      bytes = file->second;
      if (state_.corrupt) bytes[bytes.size() / 2] ^= 1;
      if (state_.cut) bytes.pop_back();
    }
    v1::DownloadArtifactResponse response;
    response.mutable_artifact()->set_file_name(request->file_name());
    writer->Write(response);
    constexpr std::size_t kPieceBytes = 1 << 16;
    for (std::size_t at = 0; at < bytes.size(); at += kPieceBytes) {
      response.set_data(bytes.substr(at, kPieceBytes));
      writer->Write(response);
    }
    return state_.End("DownloadArtifact");
  }

  grpc::Status UploadInput(grpc::ServerContext* context, grpc::ServerReader<v1::UploadInputRequest>* reader,
                           v1::UploadInputResponse* response) override {
    if (grpc::Status status = state_.Begin("UploadInput", *context); !status.ok()) return status;
    std::string bytes;
    v1::UploadInputRequest request;
    while (reader->Read(&request)) {
      if (request.data().size() > 1 << 20) return {grpc::StatusCode::INVALID_ARGUMENT, "piece too large"};
      bytes += request.data();
    }
    response->set_sha256(Sha256Hex(bytes));
    response->set_size_bytes(static_cast<std::int64_t>(bytes.size()));
    {
      const std::lock_guard lock(state_.mutex);
      state_.uploads.push_back(std::move(bytes));
    }
    return state_.End("UploadInput");
  }

 private:
  State& state_;
};

class FakeNodes final : public v1::Cluster::Service {
 public:
  explicit FakeNodes(State& state) : state_(state) {}

  grpc::Status ListNodes(grpc::ServerContext* context, const v1::ListNodesRequest*,
                         v1::ListNodesResponse* response) override {
    if (grpc::Status status = state_.Begin("ListNodes", *context); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex);
    response->mutable_nodes()->Assign(state_.nodes.begin(), state_.nodes.end());
    return grpc::Status::OK;
  }

  grpc::Status GetNode(grpc::ServerContext* context, const v1::GetNodeRequest* request,
                       v1::GetNodeResponse* response) override {
    return WithNode("GetNode", *context, request->name(),
                    [&](v1::Node& node) { *response->mutable_node() = node; });
  }

  grpc::Status DrainNode(grpc::ServerContext* context, const v1::DrainNodeRequest* request,
                         v1::DrainNodeResponse* response) override {
    return WithNode("DrainNode", *context, request->name(), [&](v1::Node& node) {
      node.set_state(v1::NODE_STATE_DRAINED);
      node.set_drain_reason(request->reason());
      *response->mutable_node() = node;
    });
  }

  grpc::Status ResumeNode(grpc::ServerContext* context, const v1::ResumeNodeRequest* request,
                          v1::ResumeNodeResponse* response) override {
    return WithNode("ResumeNode", *context, request->name(), [&](v1::Node& node) {
      node.set_state(v1::NODE_STATE_READY);
      node.clear_drain_reason();
      *response->mutable_node() = node;
    });
  }

  grpc::Status ClusterInfo(grpc::ServerContext* context, const v1::ClusterInfoRequest*,
                           v1::ClusterInfoResponse* response) override {
    if (grpc::Status status = state_.Begin("ClusterInfo", *context); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex);
    response->set_version("0.1.0");
    response->set_now_ms(NowMs() + state_.clock_offset_ms);
    return grpc::Status::OK;
  }

 private:
  grpc::Status WithNode(const std::string& method, const grpc::ServerContext& context,
                        const std::string& name, const std::function<void(v1::Node&)>& action) {
    if (grpc::Status status = state_.Begin(method, context); !status.ok()) return status;
    const std::lock_guard lock(state_.mutex);
    for (v1::Node& node : state_.nodes) {
      if (node.name() != name) continue;
      action(node);
      return grpc::Status::OK;
    }
    return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no node ", name)};
  }

  State& state_;
};

}  // namespace

std::unique_ptr<v1::Jobs::Service> MakeFakeJobs(State& state) {
  return std::make_unique<FakeJobs>(state);
}
std::unique_ptr<v1::Cluster::Service> MakeFakeNodes(State& state) {
  return std::make_unique<FakeNodes>(state);
}

}  // namespace ovi::client
