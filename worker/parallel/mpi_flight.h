// The MPI messages of one operation, on their way. For mpi_communicator.cc alone.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ovi {

// OK, or UNAVAILABLE "<what>: <MPI's text>".
absl::Status CheckMpi(int code, std::string_view what);

// What has passed between this rank and each other one of a communicator.
struct MessageTally {
  explicit MessageTally(int ranks)
      : sent(static_cast<std::size_t>(ranks)),
        received(sent.size()),
        flights_out(sent.size()),
        flights_in(sent.size()) {}

  // Messages, started and arrived: what one rank has sent, and the other not received.
  std::vector<std::uint64_t> sent;
  std::vector<std::uint64_t> received;
  // Operations that send it something, or receive something of it: the n-th of the one is the n-th of the
  // other, and its messages carry n.
  std::vector<std::uint64_t> flights_out;
  std::vector<std::uint64_t> flights_in;
};

// What there is to send to, or to receive from, one rank: pieces that follow each other.
template <typename Byte>
struct MpiLane {
  int rank = 0;
  std::vector<std::span<Byte>> pieces;  // none is empty
  int tag = 0;                          // filled in
  std::size_t piece = 0;                // of these, the first that is not wholly started
  std::size_t offset = 0;               // in it
  int underway = 0;                     // messages
};
using MpiOutgoingLane = MpiLane<const std::byte>;
using MpiIncomingLane = MpiLane<std::byte>;

// Pieces go in chunks, a few in each direction to and from each rank at a time: so they arrive one after the
// other rather than all at the end, and what is copied twice stays in the cache. Borrows the communicator,
// the tally and the memory. At its end, what is still on its way is MPI's alone.
class MpiFlight {
 public:
  static constexpr int kKinds = 8;

  // Flights of different kinds (0..kKinds - 1) never take each other's messages. `name` stands in errors and
  // lives as long as the program. `chunk_bytes`: at most 2^31 - 1.
  MpiFlight(MPI_Comm comm, MessageTally& tally, std::string_view name, int kind, std::int64_t chunk_bytes)
      : comm_(comm),
        tally_(tally),
        name_(name),
        kind_(kind),
        chunk_bytes_(static_cast<std::size_t>(chunk_bytes)) {}
  ~MpiFlight();
  MpiFlight(const MpiFlight&) = delete;
  MpiFlight& operator=(const MpiFlight&) = delete;

  // Once. At most one lane for a rank.
  absl::Status Start(std::vector<MpiOutgoingLane> outgoing, std::vector<MpiIncomingLane> incoming);

  // Takes note of what is over and starts what is next; whether the other ranks were seen to take part.
  // Errors name the rank: UNAVAILABLE of MPI, INTERNAL for a message of another size than expected.
  absl::StatusOr<bool> Poll();
  bool done() const { return requests_.empty(); }

  // For the way out: starts nothing more, and gives up the receives whose messages are not there yet. The
  // others have to be polled to their end; errors do not matter any more.
  void Cancel();
  bool receives_done() const { return receives_ == 0; }

 private:
  struct Message {
    std::size_t lane = 0;
    int rank = 0;
    int bytes = 0;
    bool incoming = false;
    bool over = false;
  };

  absl::Status StartSome(MpiOutgoingLane& lane, std::size_t index);
  absl::Status StartSome(MpiIncomingLane& lane, std::size_t index);
  absl::Status Complete(const Message& message, MPI_Status& status, int code);

  MPI_Comm comm_;
  MessageTally& tally_;
  std::string_view name_;
  int kind_;
  std::size_t chunk_bytes_;
  std::vector<MpiOutgoingLane> outgoing_;
  std::vector<MpiIncomingLane> incoming_;
  std::vector<MPI_Request> requests_;
  std::vector<Message> messages_;  // of the requests
  int receives_ = 0;               // of them
  bool cancelled_ = false;
  std::vector<int> completed_;  // room for Poll
  std::vector<MPI_Status> statuses_;
};

}  // namespace ovi
