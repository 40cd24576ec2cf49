// Who is connected: the agents' and the groups' streams, by name. The scheduler's orders go out through here.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "coordinator/controller/commands.h"
#include "coordinator/rpc/bidi_stream.h"
#include "coordinator/rpc/credentials.h"
#include "ovi/v1/groups.pb.h"
#include "ovi/v1/node.pb.h"

namespace ovi {

using AgentStream = BidiStream<v1::NodeMessage, v1::NodeCommand>;
using GroupStream = BidiStream<v1::GroupMessage, v1::GroupCommand>;

// Thread-safe. Holds no stream alive.
class Peers : public Commands {
 public:
  struct Options {
    std::int64_t group_idle_timeout_ms = 0;  // what a group is told; see StartGroup.idle_timeout_ms
    std::int64_t stop_grace_ms = 2'000;
  };
  Peers(const Credentials& credentials, Options options) : credentials_(credentials), options_(options) {}

  void AddAgent(const std::string& node, const std::string& instance, std::weak_ptr<AgentStream> stream);
  void RemoveAgent(const std::string& node, const std::string& instance, const AgentStream* stream);
  // A newer stream of a group replaces the one before, which is told to end.
  void AddGroup(const std::string& group, std::weak_ptr<GroupStream> stream);
  // False where a newer stream has replaced it already: then the group is not detached.
  bool RemoveGroup(const std::string& group, const GroupStream* stream);

  // True where the agent is connected.
  bool SendToAgent(const std::string& node, const std::string& instance, v1::NodeCommand command);

  void StartGroup(const core::StartGroup& start, const std::string& agent_instance) override;
  void StopGroup(const core::StopGroup& stop, const std::string& agent_instance) override;
  void RunAttempt(const core::RunAttempt& run, const std::string& spec) override;
  void CancelAttempt(const core::CancelAttempt& cancel) override;
  void AcknowledgeAttempt(const core::AcknowledgeAttempt& acknowledge) override;

  // Ends all streams: the coordinator stops.
  void EndAll(const grpc::Status& status);

 private:
  struct GroupEntry {
    std::weak_ptr<GroupStream> stream;
    const GroupStream* identity = nullptr;
  };
  struct AgentEntry {
    std::weak_ptr<AgentStream> stream;
    const AgentStream* identity = nullptr;
  };
  void SendToGroup(const std::string& group, v1::GroupCommand command);

  const Credentials& credentials_;
  const Options options_;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, AgentEntry> agents_;  // node, instance
  std::map<std::string, GroupEntry> groups_;
};

}  // namespace ovi
