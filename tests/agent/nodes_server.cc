#include "tests/agent/nodes_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ovi {
namespace {

constexpr std::chrono::seconds kDeadline{30};

}  // namespace

NodesServer::NodesServer(std::shared_ptr<grpc::ServerCredentials> credentials)
    : credentials_(std::move(credentials)) {
  ComeBack();
}

NodesServer::~NodesServer() {
  GoDown();
}

std::string NodesServer::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void NodesServer::ComeBack() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_), credentials_, &port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
}

void NodesServer::GoDown() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());  // cancels the streams
  server_->Wait();
  server_.reset();
}

void NodesServer::RefuseWith(const grpc::Status& status) {
  const std::lock_guard lock(mutex_);
  refusal_ = status;
}

void NodesServer::WantToken(const std::string& token) {
  const std::lock_guard lock(mutex_);
  wanted_token_ = token;
}

void NodesServer::SetReportInterval(std::int64_t milliseconds) {
  const std::lock_guard lock(mutex_);
  report_interval_ms_ = milliseconds;
}

grpc::Status NodesServer::Connect(grpc::ServerContext* context, Stream* stream) {
  v1::NodeMessage message;
  if (!stream->Read(&message) || !message.has_hello())
    return {grpc::StatusCode::INVALID_ARGUMENT, "a stream begins with a hello"};
  {
    const std::lock_guard lock(mutex_);
    const auto shown = context->client_metadata().find("authorization");
    const std::string token = shown == context->client_metadata().end()
                                  ? ""
                                  : std::string(shown->second.data(), shown->second.size());
    if (!wanted_token_.empty() && token != "Bearer " + wanted_token_)
      return {grpc::StatusCode::UNAUTHENTICATED, "this is not the node token"};
    hellos_.push_back(message.hello());
    changed_.notify_all();
    if (!refusal_.ok()) return refusal_;
    v1::NodeCommand welcome;
    welcome.mutable_welcome()->set_coordinator_version("test");
    welcome.mutable_welcome()->set_report_interval_ms(report_interval_ms_);
    stream->Write(welcome);
    stream_ = stream;
    changed_.notify_all();
  }
  while (stream->Read(&message)) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(message);
    changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  if (stream_ == stream) stream_ = nullptr;
  changed_.notify_all();
  return grpc::Status::OK;
}

template <typename Ready>
bool NodesServer::AwaitThat(const Ready& ready) {
  std::unique_lock lock(mutex_);
  const bool came = changed_.wait_for(lock, kDeadline, ready);
  EXPECT_TRUE(came) << "the agent did not say it within " << kDeadline.count() << " s";
  return came;
}

std::optional<v1::NodeHello> NodesServer::AwaitHello() {
  std::optional<v1::NodeHello> hello;
  AwaitThat([&] {
    if (hellos_.empty()) return false;
    hello = hellos_.front();
    hellos_.erase(hellos_.begin());
    return true;
  });
  return hello;
}

std::optional<v1::NodeMessage> NodesServer::Await(const std::function<bool(const v1::NodeMessage&)>& wanted) {
  std::optional<v1::NodeMessage> found;
  AwaitThat([&] {
    const auto message = std::find_if(messages_.begin(), messages_.end(), wanted);
    if (message == messages_.end()) return false;
    found = *message;
    messages_.erase(messages_.begin(), message + 1);
    return true;
  });
  return found;
}

std::optional<v1::GroupStarted> NodesServer::AwaitStarted(const std::string& group_id) {
  const auto message =
      Await([&](const v1::NodeMessage& m) { return m.group_started().group_id() == group_id; });
  return message ? std::optional(message->group_started()) : std::nullopt;
}

std::optional<v1::GroupExited> NodesServer::AwaitExited(const std::string& group_id) {
  const auto message =
      Await([&](const v1::NodeMessage& m) { return m.group_exited().group_id() == group_id; });
  return message ? std::optional(message->group_exited()) : std::nullopt;
}

std::optional<v1::NodeReport> NodesServer::AwaitReport(
    const std::function<bool(const v1::NodeReport&)>& wanted) {
  const auto message = Await([&](const v1::NodeMessage& m) { return m.has_report() && wanted(m.report()); });
  return message ? std::optional(message->report()) : std::nullopt;
}

std::optional<v1::GroupLog> NodesServer::FetchLog(const std::string& group_id, std::int64_t bytes_max) {
  v1::NodeCommand command;
  command.mutable_fetch_group_log()->set_request_id("request of " + group_id);
  command.mutable_fetch_group_log()->set_group_id(group_id);
  command.mutable_fetch_group_log()->set_bytes_max(bytes_max);
  if (!Send(command)) return std::nullopt;
  const auto message =
      Await([&](const v1::NodeMessage& m) { return m.group_log().request_id() == "request of " + group_id; });
  return message ? std::optional(message->group_log()) : std::nullopt;
}

bool NodesServer::Send(const v1::NodeCommand& command) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kDeadline, [this] { return stream_ != nullptr; });
  return stream_ != nullptr && stream_->Write(command);
}

bool NodesServer::Start(const v1::StartGroup& order) {
  v1::NodeCommand command;
  *command.mutable_start_group() = order;
  return Send(command);
}

bool NodesServer::Stop(const std::string& group_id, std::int64_t grace_ms) {
  v1::NodeCommand command;
  command.mutable_stop_group()->set_group_id(group_id);
  command.mutable_stop_group()->set_grace_ms(grace_ms);
  return Send(command);
}

}  // namespace ovi
