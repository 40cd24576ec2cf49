// What FakeCluster's services share. Only for fake_cluster.cc and fake_services.cc.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ovi/v1/cluster.grpc.pb.h"
#include "ovi/v1/jobs.grpc.pb.h"
#include "tests/client/fake_cluster.h"

namespace ovi::client {

struct FakeCluster::State {
  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::map<int, v1::Job> jobs;
  std::map<int, int> versions;                                       // of each job, counted by Update
  std::map<std::pair<std::string, std::string>, std::string> files;  // (job, file name) -> bytes
  std::map<std::string, std::string> job_of_request;                 // request_id -> job
  std::string output;                                                // of every attempt
  std::string token;
  std::map<std::string, std::deque<grpc::Status>> failures;
  std::map<std::string, std::function<void()>> actions;
  std::map<std::string, int> calls;
  bool corrupt = false;
  bool cut = false;
  v1::PlanJobResponse plan;
  std::vector<v1::Node> nodes;
  std::int64_t clock_offset_ms = 0;
  std::vector<v1::SubmitJobRequest> submits;
  std::vector<v1::ListJobsRequest> lists;
  std::vector<v1::JobSpec> planned;
  std::vector<std::string> uploads;

  // Counts the call and looks at its token.
  grpc::Status Begin(const std::string& method, const grpc::ServerContext& context) {
    std::function<void()> action;
    {
      const std::lock_guard lock(mutex);
      ++calls[method];
      action = actions[method];
      if (!token.empty()) {
        const auto shown = context.client_metadata().find("authorization");
        if (shown == context.client_metadata().end() || shown->second != "Bearer " + token) {
          return {grpc::StatusCode::UNAUTHENTICATED, "no valid token"};
        }
      }
    }
    if (action) action();
    return grpc::Status::OK;
  }

  // The end that the test wants for this call.
  grpc::Status End(const std::string& method) {
    const std::lock_guard lock(mutex);
    std::deque<grpc::Status>& wanted = failures[method];
    if (wanted.empty()) return grpc::Status::OK;
    grpc::Status status = wanted.front();
    wanted.pop_front();
    return status;
  }

  // With the mutex held.
  v1::Job* Find(const std::string& id) {
    for (auto& [number, job] : jobs) {
      if (job.id() == id) return &job;
    }
    return nullptr;
  }
  std::string Add(v1::Job job) {
    const int number = static_cast<int>(jobs.size()) + 1;
    job.set_id(absl::StrCat(number));
    jobs[number] = std::move(job);
    return absl::StrCat(number);
  }
};

std::unique_ptr<v1::Jobs::Service> MakeFakeJobs(FakeCluster::State& state);
std::unique_ptr<v1::Cluster::Service> MakeFakeNodes(FakeCluster::State& state);

}  // namespace ovi::client
