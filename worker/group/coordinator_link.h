// Rank 0's line to the coordinator: dials, says hello, keeps the stream and dials again whenever it breaks.
// The computing thread asks for orders here and leaves its reports, and never waits for the network but where
// it says so.
//
//   idle --order--> Begin --Report ...--> Finish (acknowledged) --> idle
//
// Two threads of its own: one dials and reads, one writes.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "ovi/v1/groups.grpc.pb.h"
#include "worker/group/outbox.h"

namespace ovi {

struct CoordinatorLinkOptions {
  std::string address;
  std::string token;
  bool insecure = false;  // without TLS
  v1::GroupHello hello;   // `running` is filled in
  std::chrono::milliseconds idle_max{0};
  // How long a finished attempt waits to be taken.
  std::chrono::milliseconds delivery_max = std::chrono::minutes(30);
};

// What the computing thread is to do. The last three end the group.
struct GroupOrder {
  enum class Kind { kRun, kShutDown, kRejected, kSilence };
  Kind kind = Kind::kRun;
  v1::RunAttempt run;
  std::string reason;  // of the end, one line
  std::chrono::steady_clock::time_point received_at;
};

class CoordinatorLink {
 public:
  using Clock = std::chrono::steady_clock;

  explicit CoordinatorLink(CoordinatorLinkOptions options);
  // Hangs up.
  ~CoordinatorLink();
  CoordinatorLink(const CoordinatorLink&) = delete;
  CoordinatorLink& operator=(const CoordinatorLink&) = delete;

  // Computing thread, while idle. Waits; kSilence when nothing was heard for idle_max: no order, and no
  // connection made.
  GroupOrder WaitForOrder();

  // Computing thread, for one attempt.
  void Begin(const v1::AttemptRef& attempt);
  // Replaces a report that could not be sent yet, but keeps its memory.
  void Report(v1::AttemptProgress progress);
  // A sign of life: the last report is sent again every second as long as there are some. So somebody who
  // waits for a rank that hangs is seen to stand still.
  void Beat() { beats_.fetch_add(1, std::memory_order_relaxed); }
  // Set once the attempt is to be left: it was cancelled, or the group is to end.
  const std::atomic<bool>& interrupted() const { return interrupted_; }
  // The group is to end: nothing more is to be said about the attempt.
  bool ending() const;
  // Waits for `delay`; false when it was cut short by an interruption.
  bool Pause(std::chrono::milliseconds delay);
  // Says how the attempt went and waits until that is known to be on disk. ABORTED when the group is to end,
  // DEADLINE_EXCEEDED after delivery_max.
  absl::Status Finish(v1::AttemptFinished finished);

  // For calls beside the stream. Null before the first connection.
  std::shared_ptr<v1::Groups::Stub> stub() const;
  void Authorise(grpc::ClientContext& context) const;
  const std::string& group_id() const { return options_.hello.group_id(); }
  std::chrono::milliseconds delivery_max() const { return options_.delivery_max; }

 private:
  using Stream = grpc::ClientReaderWriter<v1::GroupMessage, v1::GroupCommand>;
  struct QueuedRun {
    GroupOrder order;
    bool cancelled = false;
  };

  void DialUntilTheEnd();
  // One connection, from dialling to its end. The status it ended with.
  grpc::Status Connect();
  bool SayHello(Stream& stream, std::shared_ptr<v1::Groups::Stub> stub);
  void WriteReports(Stream& stream, grpc::ClientContext& context);
  void Handle(v1::GroupCommand command);
  void HandleRun(v1::RunAttempt run);
  void HandleCancel(const v1::AttemptRef& attempt);
  void End(GroupOrder::Kind kind, std::string reason);
  std::shared_ptr<grpc::Channel> NewChannel() const;

  const CoordinatorLinkOptions options_;
  std::atomic<std::uint64_t> beats_{0};
  std::atomic<bool> interrupted_{false};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool closing_ = false;
  grpc::ClientContext* context_ = nullptr;  // of the stream, while there is one
  std::shared_ptr<v1::Groups::Stub> stub_;
  bool stream_ended_ = false;  // tells the writer
  Clock::time_point heard_at_ = Clock::now();
  std::deque<QueuedRun> runs_;
  std::optional<GroupOrder> end_;
  std::optional<v1::AttemptRef> running_;
  Outbox outbox_;
  bool acknowledged_ = false;

  bool away_ = false;  // of the dialling thread: it was said that the coordinator cannot be reached
  std::thread dialler_;
};

}  // namespace ovi
