// What the ranks of a group printed, asked of the agent that keeps it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/rpc/peers.h"
#include "ovi/v1/node.pb.h"

namespace ovi {

// Thread-safe.
class GroupLogs {
 public:
  // UNAVAILABLE where the agent is away or goes away meanwhile; NOT_FOUND where it keeps no such output.
  using Reply = std::function<void(absl::StatusOr<std::string>)>;

  explicit GroupLogs(Peers& peers) : peers_(peers) {}

  // Calls `reply` exactly once unless Forget comes first; perhaps before it returns. The number is for
  // Forget.
  std::uint64_t Fetch(const std::string& node, const std::string& instance, const std::string& group,
                      std::int64_t bytes_max, Reply reply);
  // The client does not wait any longer. True where `reply` has not been called, and now never will be.
  bool Forget(std::uint64_t request);

  // From the agents' streams.
  void OnGroupLog(const std::string& node, const std::string& instance, const v1::GroupLog& log);
  void OnAgentGone(const std::string& node, const std::string& instance);

 private:
  struct Waiting {
    std::string node, instance;
    Reply reply;
  };

  Peers& peers_;
  std::mutex mutex_;
  std::uint64_t last_request_ = 0;
  std::map<std::uint64_t, Waiting> waiting_;
};

}  // namespace ovi
