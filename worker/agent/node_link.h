// The stream to the coordinator (Nodes.Connect): dialled, greeted, and dialled again for ever when it breaks.
//
// Threads of its own; callbacks come on them, one at a time. Send may be called from anywhere.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "ovi/v1/node.grpc.pb.h"

namespace ovi {

struct NodeLinkSettings {
  std::string address;      // host:port, or unix:path
  std::string token;        // "" = none is shown
  std::string tls_ca_file;  // "" = a plain connection
  std::chrono::milliseconds clash_patience{30'000};
};

class NodeLink {
 public:
  struct Listener {
    std::function<v1::NodeHello()> hello;  // asked for at every dial
    std::function<void(const v1::NodeWelcome&)> connected;
    std::function<void(const absl::Status&)> disconnected;  // after `connected` only
    std::function<void(const v1::NodeCommand&)> command;    // all but the welcome
    // The coordinator will not have this agent, and dialling again cannot help; the last callback.
    std::function<void(const absl::Status&)> refused;
  };

  NodeLink(NodeLinkSettings settings, Listener listener);
  // As Stop, without patience.
  ~NodeLink();
  NodeLink(const NodeLink&) = delete;
  NodeLink& operator=(const NodeLink&) = delete;

  void Start();
  // Queued, and sent once there is a connection. Of reports only the newest is kept, and none from before the
  // connection, whose hello says the same.
  void Send(v1::NodeMessage message);
  // Ends the stream once what is queued has been written, at the latest after `patience`. No callback comes
  // once it has returned. Not from a callback.
  void Stop(std::chrono::milliseconds patience);

 private:
  using Stream = grpc::ClientReaderWriter<v1::NodeMessage, v1::NodeCommand>;
  using Clock = std::chrono::steady_clock;

  void Run();
  // One connection, from dial to end.
  absl::Status Hold();
  void WriteQueued(Stream& stream, grpc::ClientContext& context);
  // True where dialling again cannot help.
  bool IsRefusal(const absl::Status& status);
  void Pause();

  const NodeLinkSettings settings_;
  const Listener listener_;
  std::thread thread_;
  std::mt19937 random_;

  // Of the dialling thread.
  std::chrono::milliseconds backoff_;
  std::optional<Clock::time_point> clash_since_;
  absl::StatusCode logged_code_ = absl::StatusCode::kOk;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::NodeMessage> queue_;
  grpc::ClientContext* context_ = nullptr;  // of the connection there is, for cancelling it
  bool welcomed_ = false;
  bool reading_ended_ = false;
  bool stop_when_written_ = false;
  bool stop_now_ = false;
};

}  // namespace ovi
