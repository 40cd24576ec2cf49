#include "coordinator/rpc/cluster_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/text.h"
#include "coordinator/core/placement.h"
#include "coordinator/rpc/status.h"

namespace ovi {
namespace {

constexpr std::size_t kReasonBytesMax = 256;

}  // namespace

grpc::ServerUnaryReactor* ClusterService::ListNodes(grpc::CallbackServerContext* context,
                                                    const v1::ListNodesRequest* /*request*/,
                                                    v1::ListNodesResponse* response) {
  parts_.controller.Read([this, response](const core::State& state) {
    for (v1::Node& node : parts_.book.List(state)) *response->add_nodes() = std::move(node);
  });
  return Answer(*context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ClusterService::GetNode(grpc::CallbackServerContext* context,
                                                  const v1::GetNodeRequest* request,
                                                  v1::GetNodeResponse* response) {
  absl::StatusOr<v1::Node> node = parts_.controller.Read(
      [this, request](const core::State& state) { return parts_.book.Get(state, request->name()); });
  if (!node.ok()) return Answer(*context, ToGrpcStatus(node.status()));
  *response->mutable_node() = *std::move(node);
  return Answer(*context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ClusterService::Change(grpc::CallbackServerContext& context,
                                                 Controller::EventKind event, const std::string& name,
                                                 v1::Node& answer) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  parts_.controller.Post(std::move(event), [this, reactor, name, &answer](const core::Reply& changed) {
    absl::Status status = changed.status();
    if (status.ok()) {
      absl::StatusOr<v1::Node> node =
          parts_.controller.Read([&](const core::State& state) { return parts_.book.Get(state, name); });
      status = node.status();
      if (node.ok()) answer = *std::move(node);
    }
    reactor->Finish(ToGrpcStatus(status));
  });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::DrainNode(grpc::CallbackServerContext* context,
                                                    const v1::DrainNodeRequest* request,
                                                    v1::DrainNodeResponse* response) {
  if (request->reason().size() > kReasonBytesMax || !IsValidUtf8(request->reason())) {
    return Answer(*context, ToGrpcStatus(absl::InvalidArgumentError(absl::StrCat(
                                "reason must be UTF-8 of at most ", kReasonBytesMax, " bytes"))));
  }
  return Change(*context, core::DrainAsked{.node = request->name(), .reason = request->reason()},
                request->name(), *response->mutable_node());
}

grpc::ServerUnaryReactor* ClusterService::ResumeNode(grpc::CallbackServerContext* context,
                                                     const v1::ResumeNodeRequest* request,
                                                     v1::ResumeNodeResponse* response) {
  return Change(*context, core::ResumeAsked{.node = request->name()}, request->name(),
                *response->mutable_node());
}

grpc::ServerUnaryReactor* ClusterService::ClusterInfo(grpc::CallbackServerContext* context,
                                                      const v1::ClusterInfoRequest* /*request*/,
                                                      v1::ClusterInfoResponse* response) {
  response->set_version(OVI_VERSION);
  response->set_now_ms(NowMs());
  parts_.controller.Read([response](const core::State& state) {
    response->set_started_at_ms(state.started_at);
    response->set_node_count(static_cast<int>(state.nodes.size()));
    int gpus = 0;
    int free_gpus = 0;
    for (const auto& [name, node] : state.nodes) {
      gpus += static_cast<int>(node.facts.gpus.size());
      if (!node.connected || state.drained.contains(name)) continue;
      for (const core::GpuFacts& gpu : node.facts.gpus) {
        free_gpus +=
            !gpu.faulty && core::BytesFree(state, node, gpu.index) == gpu.bytes_total - gpu.bytes_foreign;
      }
    }
    response->set_gpu_count(gpus);
    response->set_gpu_count_free(free_gpus);
    response->set_pending_job_count(static_cast<std::int64_t>(state.queue.size()));
    response->set_running_job_count(static_cast<std::int64_t>(state.active.size()));
    response->set_finished_job_count(static_cast<std::int64_t>(state.finished.size()));
  });
  return Answer(*context, grpc::Status::OK);
}

}  // namespace ovi
