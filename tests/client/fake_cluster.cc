#include "tests/client/fake_cluster.h"

#include <grpc/grpc.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"
#include "ovi/v1/rpc_status.pb.h"
#include "tests/client/fake_state.h"

namespace ovi::client {

FakeCluster::FakeCluster()
    : state_(std::make_unique<State>()), jobs_(MakeFakeJobs(*state_)), cluster_(MakeFakeNodes(*state_)) {
  grpc::EnableDefaultHealthCheckService(true);
  // Held for ever: after a large transfer gRPC's shutdown may wait ten seconds for a poller of its own.
  [[maybe_unused]] static const bool kept = (grpc_init(), true);
  Start();
}

FakeCluster::~FakeCluster() {
  if (server_ != nullptr) Stop();
}

std::string FakeCluster::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void FakeCluster::Start() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = false;
  }
  grpc::ServerBuilder builder;
  const std::string wanted = absl::StrCat("127.0.0.1:", port_);  // 0 at first: any
  builder.AddListeningPort(wanted, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(jobs_.get());
  builder.RegisterService(cluster_.get());
  server_ = builder.BuildAndStart();
  OVI_CHECK(server_ != nullptr && port_ != 0);
}

void FakeCluster::Stop() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

std::string FakeCluster::AddJob(v1::Job job) {
  const std::lock_guard lock(state_->mutex);
  return state_->Add(std::move(job));
}

void FakeCluster::Update(const std::string& id, const std::function<void(v1::Job&)>& change) {
  const std::lock_guard lock(state_->mutex);
  change(*state_->Find(id));
  ++state_->versions[std::stoi(id)];
  state_->changed.notify_all();
}

v1::Job FakeCluster::job(const std::string& id) const {
  const std::lock_guard lock(state_->mutex);
  return *state_->Find(id);
}

std::size_t FakeCluster::job_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->jobs.size();
}

void FakeCluster::AddArtifact(const std::string& id, v1::ArtifactKind kind, const std::string& file_name,
                              const std::string& bytes) {
  Update(id, [&](v1::Job& job) {
    v1::Artifact* artifact = job.add_artifacts();
    artifact->set_kind(kind);
    artifact->set_file_name(file_name);
    artifact->set_sha256(Sha256Hex(bytes));
    artifact->set_size_bytes(static_cast<std::int64_t>(bytes.size()));
    state_->files[{id, file_name}] = bytes;
  });
}

void FakeCluster::RequireToken(const std::string& token) {
  const std::lock_guard lock(state_->mutex);
  state_->token = token;
}

void FakeCluster::FailNext(const std::string& method, std::vector<grpc::Status> statuses) {
  const std::lock_guard lock(state_->mutex);
  state_->failures[method].assign(statuses.begin(), statuses.end());
}

void FakeCluster::OnCall(const std::string& method, std::function<void()> action) {
  const std::lock_guard lock(state_->mutex);
  state_->actions[method] = std::move(action);
}

void FakeCluster::CorruptDownloads() {
  const std::lock_guard lock(state_->mutex);
  state_->corrupt = true;
}

void FakeCluster::CutDownloads() {
  const std::lock_guard lock(state_->mutex);
  state_->cut = true;
}

void FakeCluster::SetOutput(const std::string& text) {
  const std::lock_guard lock(state_->mutex);
  state_->output = text;
}

void FakeCluster::SetPlan(v1::PlanJobResponse plan) {
  const std::lock_guard lock(state_->mutex);
  state_->plan = std::move(plan);
}

void FakeCluster::SetNodes(std::vector<v1::Node> nodes) {
  const std::lock_guard lock(state_->mutex);
  state_->nodes = std::move(nodes);
}

void FakeCluster::SetClockOffset(std::int64_t offset_ms) {
  const std::lock_guard lock(state_->mutex);
  state_->clock_offset_ms = offset_ms;
}

std::vector<v1::SubmitJobRequest> FakeCluster::submits() const {
  const std::lock_guard lock(state_->mutex);
  return state_->submits;
}

std::vector<v1::ListJobsRequest> FakeCluster::lists() const {
  const std::lock_guard lock(state_->mutex);
  return state_->lists;
}

std::vector<v1::JobSpec> FakeCluster::planned() const {
  const std::lock_guard lock(state_->mutex);
  return state_->planned;
}

std::vector<std::string> FakeCluster::uploads() const {
  const std::lock_guard lock(state_->mutex);
  return state_->uploads;
}

int FakeCluster::calls(const std::string& method) const {
  const std::lock_guard lock(state_->mutex);
  const auto count = state_->calls.find(method);
  return count == state_->calls.end() ? 0 : count->second;
}

grpc::Status FieldErrors(const std::vector<std::pair<std::string, std::string>>& fields) {
  v1::ErrorDetail detail;
  detail.set_reason("INVALID_FIELDS");
  for (const auto& [field, description] : fields) {
    v1::FieldViolation* violation = detail.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
  }
  v1::RpcStatus status;
  status.set_code(grpc::StatusCode::INVALID_ARGUMENT);
  status.set_message("the job is refused");
  status.add_details()->PackFrom(detail);
  return {grpc::StatusCode::INVALID_ARGUMENT, status.message(), status.SerializeAsString()};
}

}  // namespace ovi::client
