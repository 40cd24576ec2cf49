// A whole cluster on this machine for one test: ovi-coordinator and ovi-agents as real processes with
// declared GPUs, on loopback ports of their own, in a temporary folder. Everything is ended with the test,
// and what it left behind is a failure.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/subprocess.h"
#include "ovi/v1/cluster.grpc.pb.h"
#include "ovi/v1/jobs.grpc.pb.h"
#include "tests/temp_folder.h"

namespace ovi {

// A port of 127.0.0.1 that nobody listens on now.
int FreePort();

// Asks `there` again and again until it says yes; false after `seconds`.
bool Await(int seconds, const std::function<bool()>& there);

class TestCluster {
 public:
  struct Options {
    std::vector<std::string> coordinator_sets;  // key=value
    std::string gpu_bytes = "64 MiB";
    int gpus = 4;
    bool metrics = false;  // of the coordinator; its web server takes two seconds to end
  };
  explicit TestCluster(Options options);
  TestCluster() : TestCluster(Options{}) {}
  ~TestCluster();

  const TempFolder& folder() const { return folder_; }
  std::string address() const;
  int metrics_port() const { return metrics_port_; }
  v1::Jobs::Stub& jobs() { return *jobs_; }
  v1::Cluster::Stub& cluster() { return *cluster_; }

  void StartCoordinator();  // and waits until it answers
  void StartAgent(const std::string& name, const std::vector<std::string>& sets = {});
  // Waits until `count` nodes are READY.
  void AwaitNodes(int count);
  // kill -9, reaped.
  void KillCoordinator();
  void KillAgent(const std::string& name);
  // SIGTERM; returns how it ended.
  ExitStatus StopCoordinator();
  ExitStatus StopAgent(const std::string& name);
  // Waits for an agent that ends by itself.
  ExitStatus AwaitAgentEnd(const std::string& name);
  pid_t coordinator_pid() const { return coordinator_->pid(); }

  // Submits and returns the job's id.
  std::string Submit(const v1::JobSpec& spec, const std::string& request_id = "");
  // Watches, over restarts of the coordinator, until `done` says so; returns the job as it was then. Fails
  // the test after `seconds`.
  v1::Job WatchUntil(const std::string& job_id, const std::function<bool(const v1::Job&)>& done,
                     int seconds = 120);
  v1::Job AwaitEnd(const std::string& job_id, int seconds = 120);
  // All bytes of one file.
  absl::StatusOr<std::string> Fetch(const std::string& job_id, const std::string& file_name);

  // Processes of this cluster, except the coordinator and the agents themselves: mpirun, ranks, ffmpeg.
  std::vector<std::string> GroupProcesses() const;
  // Waits until none of them is left; false after `seconds`.
  bool AwaitNoGroupProcesses(int seconds = 20) const;
  // Waits until a group has a finished file of that ending among its results.
  bool AwaitFile(const std::string& end, int seconds) const;
  // Waits until no file of that ending is left anywhere in the cluster's folders.
  bool AwaitNoFile(const std::string& end, int seconds) const;
  pid_t PidOf(const std::string& program) const;  // the first such process of a group; 0 = none
  pid_t PidOfRank(int rank) const;                // of a group of several; 0 = none
  // Of the group with this id, its keeper aside.
  std::vector<std::string> ProcessesOfGroup(const std::string& group_id) const;

 private:
  bool HasFile(const std::string& end) const;

  TempFolder folder_;
  Options options_;
  int port_ = 0;
  int metrics_port_ = 0;
  std::unique_ptr<Subprocess> coordinator_;
  std::map<std::string, std::unique_ptr<Subprocess>> agents_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
  std::unique_ptr<v1::Cluster::Stub> cluster_;
};

// A t2v job of mini-ovi.
v1::JobSpec MiniJob(int steps = 4);

}  // namespace ovi
