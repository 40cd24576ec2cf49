// The agent's own Prometheus metrics. Names follow Prometheus' rules (base units last, _total for counters);
// labels are bounded by the number of GPUs and of states.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ovi/v1/node.pb.h"
#include "worker/agent/groups.h"

namespace ovi {

// Thread-safe.
class AgentMetrics {
 public:
  // Serves GET /metrics at `address`; "" serves nothing, and the rest works all the same. UNAVAILABLE when
  // the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<AgentMetrics>> Create(const std::string& address);
  ~AgentMetrics();

  int port() const;  // 0 when nothing is served

  void SetGpus(const v1::NodeReport& report);
  void SetGroups(const GroupCounts& counts);
  void CountStart(bool launched);
  void ObserveStart(std::chrono::duration<double> seconds);
  void SetConnected(bool connected);
  void CountReconnect();

 private:
  struct Families;
  explicit AgentMetrics(std::unique_ptr<Families> families);

  const std::unique_ptr<Families> families_;
};

}  // namespace ovi
