// What operators see of the cluster and do to it.
#pragma once

#include "coordinator/controller/controller.h"
#include "coordinator/rpc/node_facts.h"
#include "ovi/v1/cluster.grpc.pb.h"

namespace ovi {

// Borrows its parts; they outlive the server.
class ClusterService final : public v1::Cluster::CallbackService {
 public:
  struct Parts {
    Controller& controller;
    NodeBook& book;
  };
  explicit ClusterService(Parts parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context,
                                      const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;
  grpc::ServerUnaryReactor* GetNode(grpc::CallbackServerContext* context, const v1::GetNodeRequest* request,
                                    v1::GetNodeResponse* response) override;
  grpc::ServerUnaryReactor* DrainNode(grpc::CallbackServerContext* context,
                                      const v1::DrainNodeRequest* request,
                                      v1::DrainNodeResponse* response) override;
  grpc::ServerUnaryReactor* ResumeNode(grpc::CallbackServerContext* context,
                                       const v1::ResumeNodeRequest* request,
                                       v1::ResumeNodeResponse* response) override;
  grpc::ServerUnaryReactor* ClusterInfo(grpc::CallbackServerContext* context,
                                        const v1::ClusterInfoRequest* request,
                                        v1::ClusterInfoResponse* response) override;

 private:
  // Posts `event`, then answers with the node.
  grpc::ServerUnaryReactor* Change(grpc::CallbackServerContext& context, Controller::EventKind event,
                                   const std::string& name, v1::Node& answer);

  Parts parts_;
};

}  // namespace ovi
