#include "coordinator/rpc/nodes_service.h"

#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/rpc/status.h"

namespace ovi {
namespace {

class Connection final : public AgentStream {
 public:
  static Connection* Start(const NodesService::Parts& parts, const absl::Status& allowed) {
    const auto connection = std::make_shared<Connection>(parts);
    connection->Hold();
    connection->Begin();
    if (!allowed.ok()) {
      Log(LogLevel::kWarning, "agent refused", {{"reason", allowed.message()}});
      connection->End(ToGrpcStatus(allowed));
    }
    return connection.get();
  }
  explicit Connection(const NodesService::Parts& parts) : parts_(parts) {}

 private:
  void OnMessage(const v1::NodeMessage& message) override {
    if (message.has_hello() != node_.empty()) {
      End(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "a stream begins with one NodeHello"));
    } else if (message.has_hello()) {
      OnHello(message.hello());
    } else if (message.has_report()) {
      OnReport(message.report());
    } else if (message.has_group_exited()) {
      const v1::GroupExited& exited = message.group_exited();
      Log(LogLevel::kInfo, "group ended",
          {{"group", exited.group_id()},
           {"node", node_},
           {"exit_code", exited.exit_code()},
           {"signal", exited.signal()}});
      parts_.controller.Post(core::GroupExited{.node = node_,
                                               .group = exited.group_id(),
                                               .launched = exited.launched(),
                                               .exit_code = exited.exit_code(),
                                               .signal = exited.signal(),
                                               .output_tail = exited.output_tail()});
    } else if (message.has_group_log()) {
      parts_.logs.OnGroupLog(node_, instance_, message.group_log());
    }
  }

  void OnHello(const v1::NodeHello& hello) {
    absl::StatusOr<core::NodeConnected> event = ParseHello(hello);
    if (!event.ok()) {
      Log(LogLevel::kWarning, "agent refused",
          {{"node", hello.name()}, {"reason", event.status().message()}});
      End(ToGrpcStatus(event.status()));
      return;
    }
    node_ = hello.name();
    instance_ = hello.instance_id();
    // Known before the event, so that orders which follow from it find the stream; they stay behind the
    // welcome.
    const auto self = std::static_pointer_cast<Connection>(shared_from_this());
    parts_.peers.AddAgent(node_, instance_, self);
    parts_.controller.Post(*std::move(event), [self, hello](const core::Reply& accepted) {
      self->OnAccepted(hello, accepted.status());
    });
  }

  void OnAccepted(const v1::NodeHello& hello, const absl::Status& accepted) {
    if (!accepted.ok()) {
      Log(LogLevel::kWarning, "agent refused", {{"node", hello.name()}, {"reason", accepted.message()}});
      End(ToGrpcStatus(accepted));
      return;
    }
    Log(LogLevel::kInfo, "agent connected",
        {{"node", hello.name()},
         {"gpus", hello.gpus_size()},
         {"models", hello.models_size()},
         {"groups", hello.groups_size()}});
    parts_.book.Welcome(hello);
    v1::NodeCommand welcome;
    welcome.mutable_welcome()->set_coordinator_version(OVI_VERSION);
    welcome.mutable_welcome()->set_report_interval_ms(parts_.report_interval_ms);
    welcome.mutable_welcome()->set_now_ms(NowMs());
    Release(std::move(welcome));
  }

  void OnReport(const v1::NodeReport& report) {
    absl::StatusOr<std::vector<core::GpuFacts>> gpus = ParseGpus(report.gpus());
    if (!gpus.ok()) {
      End(ToGrpcStatus(gpus.status()));
      return;
    }
    parts_.book.Report(node_, report);
    parts_.controller.Post(
        core::NodeReported{.node = node_, .instance_id = instance_, .gpus = *std::move(gpus)});
  }

  void OnClosed() override {
    if (node_.empty()) return;
    parts_.peers.RemoveAgent(node_, instance_, this);
    parts_.logs.OnAgentGone(node_, instance_);
    Log(LogLevel::kInfo, "agent disconnected", {{"node", node_}});
    parts_.controller.Post(core::NodeDisconnected{.node = node_, .instance_id = instance_});
  }

  const NodesService::Parts parts_;
  std::string node_, instance_;  // "" before the hello
};

}  // namespace

grpc::ServerBidiReactor<v1::NodeMessage, v1::NodeCommand>* NodesService::Connect(
    grpc::CallbackServerContext* context) {
  return Connection::Start(parts_, parts_.credentials.CheckNode(*context));
}

}  // namespace ovi
