// What agents say about their nodes: checked, turned into the scheduler's facts, and kept whole for those who
// look at the cluster.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/core/advance.h"
#include "ovi/v1/cluster.pb.h"
#include "ovi/v1/groups.pb.h"
#include "ovi/v1/node.pb.h"

namespace ovi {

// Pure. FAILED_PRECONDITION for another protocol version, INVALID_ARGUMENT naming the field for facts that
// cannot be (a name that is none, GPU indices that do not count from 0, negative bytes, ...).
absl::StatusOr<core::NodeConnected> ParseHello(const v1::NodeHello& hello);
absl::StatusOr<std::vector<core::GpuFacts>> ParseGpus(
    const google::protobuf::RepeatedPtrField<v1::Gpu>& gpus);
// The same for rank 0.
absl::StatusOr<core::GroupAttached> ParseGroupHello(const v1::GroupHello& hello);

// The last word of every agent. Thread-safe.
class NodeBook {
 public:
  void Welcome(const v1::NodeHello& hello);
  void Report(const std::string& node, const v1::NodeReport& report);

  // All nodes the scheduler knows, with what their agents said last.
  std::vector<v1::Node> List(const core::State& state) const;
  // NOT_FOUND.
  absl::StatusOr<v1::Node> Get(const core::State& state, const std::string& name) const;

 private:
  v1::Node NodeOf(const core::State& state, const core::Node& node) const;

  mutable std::mutex mutex_;
  std::map<std::string, v1::Node> nodes_;  // facts of the agent only
};

}  // namespace ovi
