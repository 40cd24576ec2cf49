// A coordinator of a test's own: serves Nodes on a loopback port, records what agents say, and says what the
// test wants.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ovi/v1/node.grpc.pb.h"

namespace ovi {

// Thread-safe. Every Await has a deadline of half a minute and fails the test when it passes.
class NodesServer final : private v1::Nodes::Service {
 public:
  explicit NodesServer(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials());
  ~NodesServer() override;

  std::string address() const;

  // What the next hellos are answered with; OK: welcome.
  void RefuseWith(const grpc::Status& status);
  void WantToken(const std::string& token);
  void SetReportInterval(std::int64_t milliseconds);

  // Stops serving as a killed coordinator does, and serves the same address again.
  void GoDown();
  void ComeBack();

  // The next hello that no call has returned yet. Refused ones count too.
  std::optional<v1::NodeHello> AwaitHello();
  // The next message that `wanted` is true for; those before it are dropped.
  std::optional<v1::NodeMessage> Await(const std::function<bool(const v1::NodeMessage&)>& wanted);
  std::optional<v1::GroupStarted> AwaitStarted(const std::string& group_id);
  std::optional<v1::GroupExited> AwaitExited(const std::string& group_id);
  std::optional<v1::NodeReport> AwaitReport(const std::function<bool(const v1::NodeReport&)>& wanted);
  std::optional<v1::GroupLog> FetchLog(const std::string& group_id, std::int64_t bytes_max = 65536);

  // To the agent that is connected. False where none is.
  bool Send(const v1::NodeCommand& command);
  bool Start(const v1::StartGroup& order);
  bool Stop(const std::string& group_id, std::int64_t grace_ms);

 private:
  using Stream = grpc::ServerReaderWriter<v1::NodeCommand, v1::NodeMessage>;
  grpc::Status Connect(grpc::ServerContext* context, Stream* stream) override;
  template <typename Ready>
  bool AwaitThat(const Ready& ready);

  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;
  std::condition_variable changed_;
  grpc::Status refusal_;
  std::string wanted_token_;
  std::int64_t report_interval_ms_ = 60'000;
  std::vector<v1::NodeHello> hellos_;
  std::vector<v1::NodeMessage> messages_;
  Stream* stream_ = nullptr;
};

}  // namespace ovi
