// The agents' streams: what they say becomes events.
#pragma once

#include "coordinator/controller/controller.h"
#include "coordinator/rpc/credentials.h"
#include "coordinator/rpc/group_logs.h"
#include "coordinator/rpc/node_facts.h"
#include "coordinator/rpc/peers.h"
#include "ovi/v1/node.grpc.pb.h"

namespace ovi {

// Borrows its parts; they outlive the server.
class NodesService final : public v1::Nodes::CallbackService {
 public:
  struct Parts {
    Controller& controller;
    Peers& peers;
    NodeBook& book;
    GroupLogs& logs;
    const Credentials& credentials;
    std::int64_t report_interval_ms = 2'000;
  };
  explicit NodesService(Parts parts) : parts_(parts) {}

  grpc::ServerBidiReactor<v1::NodeMessage, v1::NodeCommand>* Connect(
      grpc::CallbackServerContext* context) override;

 private:
  Parts parts_;
};

}  // namespace ovi
