// How the ranks of a group exchange bytes while they compute one video. Models see this interface only; MPI
// is behind it today (mpi_communicator.h), NCCL can be.
//
// Memory: with a stream, every address is one on the stream's device and only the communicator and the
// backend may follow it; without one (nullptr) it is host memory. An operation takes its place in the stream:
// it sends what the ops enqueued before it have made, and after Wait() the ops enqueued later see what has
// arrived and may write over what was sent. Until then the memory is the communicator's. Host memory: the
// same, for the caller.
//
// Order: the ranks of a communicator start its collective operations in the same order, and two ranks agree
// on the order of what passes between them. Any number may be in flight, and be waited for in any order.
// Sizes are known on both sides and must agree; no byte, no message.
//
// Errors come out of Wait(), also those of starting. The first one sticks: what is started or waited for
// later on the communicator returns it too, until Settle(). Other communicators are not touched. UNAVAILABLE:
// a rank or the transport is lost and the group is to end. INTERNAL: the ranks' sizes disagree.
// INTERNAL: an operation was dropped without Wait(). Anything else is from the interruption or the
// stream.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace ovi {

class Stream;

enum class Exchange { kAllToAll, kAllGather, kBroadcast, kSendReceive, kSend };
inline constexpr int kExchangeCount = 5;
std::string_view ExchangeName(Exchange exchange);  // "all-to-all", ...

// What this rank has sent to others (never to itself), payload only. An all-gather counts the rank's part
// once for every other rank and a broadcast the root's bytes once for every other rank, whatever way they
// take, so that the figures are those of shards.h on every transport.
struct CommunicatorCounts {
  std::array<std::int64_t, kExchangeCount> bytes_sent{};
  std::array<std::int64_t, kExchangeCount> operations{};  // started, by this rank

  std::int64_t bytes(Exchange exchange) const { return bytes_sent[static_cast<std::size_t>(exchange)]; }
  std::int64_t bytes_total() const;
};

// An operation in flight. Dropping one that was not waited for (which error paths may) leaves the
// communicator with an error until Settle().
class [[nodiscard]] Pending {
 public:
  class Operation {
   public:
    virtual ~Operation() = default;
    virtual absl::Status Wait() = 0;
  };

  Pending() = default;  // nothing to wait for
  explicit Pending(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}

  // On MPI it returns when everything has arrived and left; a backend that works on the device may only make
  // the operation's stream wait. Later calls return the same.
  absl::Status Wait() { return operation_ ? operation_->Wait() : absl::OkStatus(); }

 private:
  std::unique_ptr<Operation> operation_;
};

// A message, or a piece of one: what passes between two ranks in one operation is a list of pieces, which
// pair up in order and have the same sizes on both sides. So q, k and v go out of three buffers and into
// three others in one operation, without copies in between.
struct Outgoing {
  int to = 0;
  std::span<const std::byte> bytes;
};
struct Incoming {
  int from = 0;
  std::span<std::byte> bytes;
};

// The memory of a dense tensor.
inline std::span<std::byte> BytesOf(const Tensor& tensor) {
  return {tensor.data, static_cast<std::size_t>(tensor.bytes())};
}

// Used by one thread at a time, the same for all communicators of a process (the one that computes). A
// Pending must not outlive it.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Collective. Pieces for this rank itself are copied.
  virtual Pending AllToAllV(Stream* stream, std::span<const Outgoing> send,
                            std::span<const Incoming> receive) = 0;
  // Collective. parts[r] gets the part of rank r; this rank's own may be the same memory as `mine`.
  virtual Pending AllGatherV(Stream* stream, std::span<const std::byte> mine,
                             std::span<const std::span<std::byte>> parts) = 0;
  // Collective. Read on the root, written on the others.
  virtual Pending Broadcast(Stream* stream, int root, std::span<std::byte> bytes) = 0;
  // Between those who name each other: halos. Both sides may start with it.
  virtual Pending SendReceive(Stream* stream, std::span<const Outgoing> send,
                              std::span<const Incoming> receive) = 0;
  // One direction. Its Wait may need the other side to wait too.
  virtual Pending Send(Stream* stream, int to, std::span<const std::byte> bytes) = 0;
  virtual Pending Receive(Stream* stream, int from, std::span<std::byte> bytes) = 0;

  // Moves along what is in flight, without waiting. Bytes move on MPI only while a rank is in one of these
  // calls, so to be called between the pieces of a computation that is to overlap with an exchange.
  virtual void Advance() = 0;

  // A communicator of its own for these ranks of this one, in that order, this rank included. Called by them
  // alone, all with the same list; waits for them. Borrows nothing from this one.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Split(std::span<const int> ranks) = 0;

  // Asked while a Wait lasts; its error ends the waiting and is returned. May be null. For this communicator
  // and all that are split from it, whenever they were. It must not use them.
  virtual void SetInterruption(std::function<absl::Status()> interruption) = 0;

  // Collective, to be called however the operations before it ended (with an error here, or on another rank
  // only): waits for all ranks, throws away what is in flight or on its way, and makes the communicator as
  // new. Memory of operations that failed or were dropped must stay valid until it returns. The interruption
  // is not asked: every rank comes here within a block, or the process is ended from outside. UNAVAILABLE
  // when a rank is lost.
  virtual absl::Status Settle() = 0;

  virtual const CommunicatorCounts& counts() const = 0;
  virtual void ResetCounts() = 0;
};

// Sums over the ranks, in every place, added in rank order: the same bits on every rank, and in every run.
// Host memory. Each rank gets all values of all others, so for small sums.
absl::Status SumInRankOrder(Communicator& communicator, std::span<float> values);

}  // namespace ovi
