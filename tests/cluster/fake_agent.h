// An agent of a test's own, for a real coordinator: it says what it is told to, and starts nothing.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>

#include "ovi/v1/node.grpc.pb.h"

namespace ovi {

class FakeAgent {
 public:
  FakeAgent(const std::string& address, const std::string& token)
      : stub_(v1::Nodes::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    stream_ = stub_->Connect(&context_);
  }
  ~FakeAgent() { context_.TryCancel(); }
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  // How the stream ends after `hello`; OK where it was welcomed.
  grpc::Status Hello(const v1::NodeHello& hello) {
    v1::NodeMessage message;
    *message.mutable_hello() = hello;
    if (stream_->Write(message) && Next()) return grpc::Status::OK;
    return stream_->Finish();
  }
  // Waits for what the coordinator says next; nothing where the stream has ended.
  std::optional<v1::NodeCommand> Next() {
    v1::NodeCommand command;
    return stream_->Read(&command) ? std::optional(command) : std::nullopt;
  }

 private:
  std::unique_ptr<v1::Nodes::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::NodeMessage, v1::NodeCommand>> stream_;
};

// Without GPUs and models.
inline v1::NodeHello HelloOf(const std::string& name) {
  v1::NodeHello hello;
  hello.set_protocol_version(1);
  hello.set_name(name);
  hello.set_instance_id("instance of a test");
  return hello;
}

}  // namespace ovi
