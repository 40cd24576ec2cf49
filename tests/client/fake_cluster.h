// A coordinator that does what a test says: real gRPC on loopback, in the test's process.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ovi/v1/cluster.grpc.pb.h"
#include "ovi/v1/jobs.grpc.pb.h"

namespace ovi::client {

// Thread-safe. Jobs get the ids "1", "2", ...
class FakeCluster {
 public:
  FakeCluster();
  ~FakeCluster();
  FakeCluster(const FakeCluster&) = delete;
  FakeCluster& operator=(const FakeCluster&) = delete;

  std::string address() const;
  // A coordinator that goes away in the middle of its calls, and comes back at the same address.
  void Stop();
  void Start();

  // What the jobs are. Update wakes those who watch.
  std::string AddJob(v1::Job job);
  void Update(const std::string& id, const std::function<void(v1::Job&)>& change);
  v1::Job job(const std::string& id) const;
  std::size_t job_count() const;
  // A result of a job; its bytes.
  void AddArtifact(const std::string& id, v1::ArtifactKind kind, const std::string& file_name,
                   const std::string& bytes);

  // How calls go.
  void RequireToken(const std::string& token);
  // The next calls of `method` do what they do and then answer these, one each.
  void FailNext(const std::string& method, std::vector<grpc::Status> statuses);
  // Called at the begin of every call of `method`.
  void OnCall(const std::string& method, std::function<void()> action);
  void SetOutput(const std::string& text);  // what the ranks of every attempt printed
  void CorruptDownloads();                  // one byte is wrong
  void CutDownloads();                      // the last byte is missing
  void SetPlan(v1::PlanJobResponse plan);
  void SetNodes(std::vector<v1::Node> nodes);
  void SetClockOffset(std::int64_t offset_ms);

  // What was asked for, in order.
  std::vector<v1::SubmitJobRequest> submits() const;
  std::vector<v1::ListJobsRequest> lists() const;
  std::vector<v1::JobSpec> planned() const;
  std::vector<std::string> uploads() const;  // bytes
  int calls(const std::string& method) const;

  struct State;  // in fake_state.h

 private:
  const std::unique_ptr<State> state_;
  const std::unique_ptr<v1::Jobs::Service> jobs_;
  const std::unique_ptr<v1::Cluster::Service> cluster_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// A status whose details say which fields are wrong.
grpc::Status FieldErrors(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace ovi::client
