// MPI for the length of the process: started, asked who we are, used to pass messages, ended. Besides
// worker/parallel the only code that includes mpi.h.
//
// One thread only, the one that computes: gRPC's threads never come here. Errors of MPI are UNAVAILABLE; this
// Open MPI cannot go on without a lost rank, so whoever gets one ends the process.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

// Messages of one kind and attempt between two ranks arrive in the order they were sent; others may overtake
// each other, and are never taken for one another.
enum class MessageKind { kOrder = 1, kOutcome = 2 };

struct MessageTag {
  MessageKind kind = MessageKind::kOrder;
  std::uint32_t attempt = 0;  // counted by the group; 0 for orders. Told apart within any 2^24 in a row
};

class MpiSession {
 public:
  // Once a process. Without an mpirun around it, a world of one rank.
  static absl::StatusOr<std::unique_ptr<MpiSession>> Start();
  // Waits for all ranks, which must do the same.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int ranks_on_node() const { return ranks_on_node_; }

  // Copies `bytes` and returns; the message goes out while later calls are made. At most 2^31 - 1 bytes.
  absl::Status Send(int to, MessageTag tag, std::string_view bytes);
  // False while messages of Send are on their way.
  absl::StatusOr<bool> AllSent();
  // The next message with that tag, if there is one.
  absl::StatusOr<std::optional<std::string>> TryReceive(int from, MessageTag tag);
  // Whether there is one.
  absl::StatusOr<bool> HasMessage(int from, MessageTag tag);

  // Ends all ranks of the group at once.
  [[noreturn]] void Abort(int exit_code);

 private:
  MpiSession();

  struct Outbox;
  std::unique_ptr<Outbox> outbox_;
  int rank_ = 0;
  int size_ = 1;
  int ranks_on_node_ = 1;
};

// For loops that wait for a message: naps that grow from 20 us to `longest`, so that an answer that comes at
// once is met at once and a long wait costs no core.
class Nap {
 public:
  explicit Nap(std::chrono::microseconds longest) : longest_(longest) {}
  void Take();

 private:
  std::chrono::microseconds longest_;
  std::chrono::microseconds next_{20};
};

}  // namespace ovi
