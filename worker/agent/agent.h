// The agent: tells the coordinator what this node is, and carries out its orders. Wires the parts together.
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ovi/v1/node.pb.h"
#include "worker/agent/config.h"
#include "worker/agent/event_loop.h"
#include "worker/agent/groups.h"
#include "worker/agent/metrics.h"
#include "worker/agent/model_scan.h"
#include "worker/agent/node_link.h"
#include "worker/agent/node_probe.h"

namespace ovi {

// Thread-compatible; Run is called once, on the thread that called Create and with the signals of
// AgentSignals() blocked in every thread.
class Agent {
 public:
  // Looks at the machine; changes nothing but the cache of what models need. Errors name the key or the file:
  // no driver, a token file that others may read.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(AgentConfig config);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // What a coordinator is told; before Run without groups.
  v1::NodeHello Hello();
  // Until a signal or the coordinator ends it; returns the program's exit code. Errors: the state folder is
  // another agent's, or the metrics' address is taken.
  absl::StatusOr<int> Run();

 private:
  Agent(AgentConfig config, std::string own_path);

  absl::Status Look();
  absl::Status Open();
  void MakeLink();
  absl::Status OpenGroups();

  void OnSignal();
  void OnConnected(const v1::NodeWelcome& welcome);
  void OnCommand(const v1::NodeCommand& command);
  void SendReport();
  void ReportEvery(int round);
  void StopIfDone();
  void End(int exit_code);

  const AgentConfig config_;
  const std::string own_path_, instance_id_;
  std::string token_;
  UniqueFd state_lock_, signal_fd_;
  EventLoop loop_;
  std::unique_ptr<AgentMetrics> metrics_;
  std::unique_ptr<ModelScan> models_;
  std::unique_ptr<NodeLink> link_;
  std::unique_ptr<Groups> groups_;
  std::unique_ptr<NodeProbe> probe_;
  std::chrono::milliseconds report_pause_{0};
  int report_round_ = 0;  // so that a new pause replaces the timer of the old one
  bool was_connected_ = false;
  bool stopping_ = false;
  std::atomic<bool> ending_ = false;  // read by the link's thread
  int exit_code_ = 0;
};

// Those that the agent waits for: SIGTERM, SIGINT and SIGHUP, which end it, and SIGCHLD.
sigset_t AgentSignals();

}  // namespace ovi
