#include "worker/parallel/mpi_communicator.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "kernels/backend.h"
#include "worker/parallel/mpi_flight.h"

namespace ovi {
namespace {

// Kinds of flights, besides the exchanges: ranks that disagree on what comes next wait for ever rather than
// compute nonsense.
constexpr int kSettleKind = kExchangeCount;
static_assert(kSettleKind < MpiFlight::kKinds);

// Waiting: without a pause as long as the other ranks are seen to take part, since a large message moves only
// while both sides are in MPI; else in naps.
class Pace {
 public:
  void Progressed() {
    attentive_until_ = Clock::now() + kAttentive;
    nap_ = kNapShortest;
  }
  // False while it is too early for anything but polling again.
  bool Rest() {
    if (Clock::now() < attentive_until_) return false;
    std::this_thread::sleep_for(nap_);
    nap_ = std::min(nap_ * 2, kNapLongest);
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kAtFirst{300};
  static constexpr std::chrono::microseconds kAttentive{2'000};  // a chunk at 0.5 GB/s
  static constexpr std::chrono::microseconds kNapShortest{20};
  static constexpr std::chrono::microseconds kNapLongest{500};  // a block takes milliseconds

  Clock::time_point attentive_until_ = Clock::now() + kAtFirst;
  std::chrono::microseconds nap_ = kNapShortest;
};

struct State;

// One operation: its messages, and the copies of device memory they go by.
struct Transfer {
  Transfer(State& communicator, Exchange exchange);

  struct Arrival {
    std::span<std::byte> device;
    const std::byte* staged = nullptr;
  };

  State& state;
  std::unique_ptr<std::byte[]> staging;
  std::vector<Arrival> arrivals;  // to be uploaded
  Stream* stream = nullptr;       // that they go to
  bool thrown_away = false;       // by Settle
  MpiFlight flight;               // last: its end frees the requests before the memory goes
};

Tensor TensorOf(std::span<const std::byte> device) {
  // What is only read stays so: backends take one kind of tensor for both sides of a copy.
  return {.data = const_cast<std::byte*>(device.data()),
          .dtype = DType::kU8,
          .shape = {static_cast<std::int64_t>(device.size())}};
}

// What all communicators share that are split from one.
struct Hub {
  // Moves along what is in flight on any of them: two ranks may wait for two operations in different orders.
  // Whether the other ranks were seen to take part.
  bool Advance();
  void Forget(const Transfer& transfer) {
    std::erase_if(underway, [&](const auto& other) { return other.get() == &transfer; });
  }

  std::function<absl::Status()> interruption;
  std::vector<std::shared_ptr<Transfer>> underway;
};

// A communicator, as its operations see it.
struct State {
  State(MPI_Comm owned, int my_rank, int ranks, const MpiCommunicatorOptions& chosen,
        std::shared_ptr<Hub> shared)
      : comm(owned), rank(my_rank), size(ranks), options(chosen), hub(std::move(shared)), tally(ranks) {}
  ~State() {
    std::erase_if(hub->underway, [&](const auto& transfer) { return &transfer->state == this; });
    MPI_Comm_free(&comm);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  absl::Status Fail(const absl::Status& status) {
    if (failure.ok()) failure = status;
    return failure;
  }
  absl::Status WaitFor(Transfer& transfer);
  absl::Status Finish(Transfer& transfer);

  MPI_Comm comm;
  const int rank;
  const int size;
  const MpiCommunicatorOptions options;
  const std::shared_ptr<Hub> hub;
  MessageTally tally;
  CommunicatorCounts counts;
  absl::Status failure;  // the first, until Settle
};

Transfer::Transfer(State& communicator, Exchange exchange)
    : state(communicator),
      flight(state.comm, state.tally, ExchangeName(exchange), static_cast<int>(exchange),
             state.options.chunk_bytes) {}

bool Hub::Advance() {
  bool others_take_part = false;
  for (const auto& transfer : underway) {
    const absl::StatusOr<bool> polled = transfer->flight.Poll();
    if (!polled.ok()) (void)transfer->state.Fail(polled.status());
    others_take_part |= polled.value_or(false);
  }
  return others_take_part;
}

absl::Status State::WaitFor(Transfer& transfer) {
  for (Pace pace; failure.ok() && !transfer.flight.done();) {
    if (hub->Advance()) {
      pace.Progressed();
    } else if (!transfer.flight.done() && pace.Rest() && hub->interruption) {
      const absl::Status interrupted = hub->interruption();
      if (!interrupted.ok()) return Fail(interrupted);
    }
  }
  OVI_RETURN_IF_ERROR(failure);
  const absl::Status finished = Finish(transfer);
  if (!finished.ok()) return Fail(finished);
  hub->Forget(transfer);
  return absl::OkStatus();
}

absl::Status State::Finish(Transfer& transfer) {
  if (transfer.arrivals.empty()) return absl::OkStatus();
  for (const Transfer::Arrival& arrival : transfer.arrivals) {
    const Tensor device = TensorOf(arrival.device);
    transfer.stream->Upload(device, {.data = arrival.staged, .dtype = device.dtype, .shape = device.shape});
  }
  return transfer.stream->Sync();  // before the copies go
}

class MpiOperation final : public Pending::Operation {
 public:
  // Null for one that could not be started.
  MpiOperation(std::shared_ptr<State> state, std::shared_ptr<Transfer> transfer)
      : state_(std::move(state)), transfer_(std::move(transfer)) {}
  ~MpiOperation() override {
    if (result_ || transfer_ == nullptr || transfer_->thrown_away) return;
    (void)state_->Fail(absl::InternalError("an operation was not waited for"));
  }

  absl::Status Wait() override {
    if (!result_) result_ = Result();
    return *result_;
  }

 private:
  absl::Status Result() {
    if (transfer_ == nullptr) return state_->failure;
    if (transfer_->thrown_away) return absl::AbortedError("the operation was thrown away by Settle");
    return state_->WaitFor(*transfer_);
  }

  std::shared_ptr<State> state_;
  std::shared_ptr<Transfer> transfer_;
  std::optional<absl::Status> result_;
};

// Receives the next message of a rank into `nobodys` if there is one.
absl::StatusOr<bool> ThrowAwayMessage(MPI_Comm comm, int from, std::vector<std::byte>& nobodys) {
  int found = 0;
  int bytes = 0;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  OVI_RETURN_IF_ERROR(
      CheckMpi(MPI_Improbe(from, MPI_ANY_TAG, comm, &found, &message, &status), "MPI_Improbe"));
  if (found == 0) return false;
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count"));
  nobodys.resize(static_cast<std::size_t>(bytes));
  OVI_RETURN_IF_ERROR(
      CheckMpi(MPI_Mrecv(nobodys.data(), bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE), "MPI_Mrecv"));
  return true;
}

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(std::shared_ptr<State> state) : state_(std::move(state)) {}

  int rank() const override { return state_->rank; }
  int size() const override { return state_->size; }

  Pending AllToAllV(Stream* stream, std::span<const Outgoing> send,
                    std::span<const Incoming> receive) override {
    return Start(Exchange::kAllToAll, stream, send, receive);
  }
  Pending AllGatherV(Stream* stream, std::span<const std::byte> mine,
                     std::span<const std::span<std::byte>> parts) override;
  Pending Broadcast(Stream* stream, int root, std::span<std::byte> bytes) override;
  Pending SendReceive(Stream* stream, std::span<const Outgoing> send,
                      std::span<const Incoming> receive) override {
    return Start(Exchange::kSendReceive, stream, send, receive);
  }
  Pending Send(Stream* stream, int to, std::span<const std::byte> bytes) override {
    const Outgoing send{.to = to, .bytes = bytes};
    return Start(Exchange::kSend, stream, {&send, 1}, {});
  }
  Pending Receive(Stream* stream, int from, std::span<std::byte> bytes) override {
    const Incoming receive{.from = from, .bytes = bytes};
    return Start(Exchange::kSend, stream, {}, {&receive, 1});
  }

  void Advance() override { (void)state_->hub->Advance(); }
  absl::StatusOr<std::unique_ptr<Communicator>> Split(std::span<const int> ranks) override;
  void SetInterruption(std::function<absl::Status()> interruption) override {
    state_->hub->interruption = std::move(interruption);
  }
  absl::Status Settle() override;
  const CommunicatorCounts& counts() const override { return state_->counts; }
  void ResetCounts() override { state_->counts = {}; }

 private:
  Pending Start(Exchange exchange, Stream* stream, std::span<const Outgoing> send,
                std::span<const Incoming> receive);
  absl::Status Prepare(Transfer& transfer, Stream* stream, std::vector<Outgoing>& send,
                       std::vector<Incoming>& receive);
  absl::Status StartMessages(MpiFlight& flight, std::span<const Outgoing> send,
                             std::span<const Incoming> receive) const;

  std::shared_ptr<State> state_;
};

absl::StatusOr<std::unique_ptr<Communicator>> Adopt(MPI_Comm comm, const MpiCommunicatorOptions& options,
                                                    std::shared_ptr<Hub> hub) {
  int rank = 0;
  int size = 1;
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank"));
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Comm_size(comm, &size), "MPI_Comm_size"));
  return std::make_unique<MpiCommunicator>(
      std::make_shared<State>(comm, rank, size, options, std::move(hub)));
}

Pending MpiCommunicator::AllGatherV(Stream* stream, std::span<const std::byte> mine,
                                    std::span<const std::span<std::byte>> parts) {
  OVI_CHECK(parts.size() == static_cast<std::size_t>(size()));
  std::vector<Outgoing> send;
  std::vector<Incoming> receive;
  for (int other = 0; other < size(); ++other) {
    const std::span<std::byte> part = parts[static_cast<std::size_t>(other)];
    if (other == rank() && part.data() == mine.data()) continue;
    send.push_back({other, mine});
    receive.push_back({other, part});
  }
  return Start(Exchange::kAllGather, stream, send, receive);
}

Pending MpiCommunicator::Broadcast(Stream* stream, int root, std::span<std::byte> bytes) {
  OVI_CHECK(root >= 0 && root < size());
  if (rank() != root) {
    const Incoming receive{.from = root, .bytes = bytes};
    return Start(Exchange::kBroadcast, stream, {}, {&receive, 1});
  }
  std::vector<Outgoing> send;
  for (int other = 0; other < size(); ++other) {
    if (other != root) send.push_back({other, bytes});
  }
  return Start(Exchange::kBroadcast, stream, send, {});
}

Pending MpiCommunicator::Start(Exchange exchange, Stream* stream, std::span<const Outgoing> send,
                               std::span<const Incoming> receive) {
  for (const Outgoing& piece : send) OVI_CHECK(piece.to >= 0 && piece.to < size());
  for (const Incoming& piece : receive) OVI_CHECK(piece.from >= 0 && piece.from < size());
  if (!state_->failure.ok()) return Pending(std::make_unique<MpiOperation>(state_, nullptr));

  const auto transfer = std::make_shared<Transfer>(*state_, exchange);
  state_->hub->underway.push_back(transfer);
  std::vector<Outgoing> host_send(send.begin(), send.end());
  std::vector<Incoming> host_receive(receive.begin(), receive.end());
  absl::Status started = Prepare(*transfer, stream, host_send, host_receive);
  if (started.ok()) started = StartMessages(transfer->flight, host_send, host_receive);
  if (!started.ok()) (void)state_->Fail(started);

  const auto kind = static_cast<std::size_t>(exchange);
  ++state_->counts.operations[kind];
  for (const Outgoing& piece : host_send) {
    state_->counts.bytes_sent[kind] += static_cast<std::int64_t>(piece.bytes.size());
  }
  return Pending(std::make_unique<MpiOperation>(state_, transfer));
}

// Copies what the rank sends to itself, and leaves pieces for others, in host memory.
absl::Status MpiCommunicator::Prepare(Transfer& transfer, Stream* stream, std::vector<Outgoing>& send,
                                      std::vector<Incoming>& receive) {
  const auto to_self = [&](const Outgoing& piece) { return piece.to == rank(); };
  const auto from_self = [&](const Incoming& piece) { return piece.from == rank(); };
  auto target = std::find_if(receive.begin(), receive.end(), from_self);
  for (const Outgoing& piece : send) {
    if (!to_self(piece)) continue;
    OVI_CHECK(target != receive.end() && target->bytes.size() == piece.bytes.size());
    if (stream != nullptr) {
      stream->Copy(TensorOf(target->bytes), TensorOf(piece.bytes));
    } else if (!piece.bytes.empty()) {
      std::memmove(target->bytes.data(), piece.bytes.data(), piece.bytes.size());
    }
    target = std::find_if(target + 1, receive.end(), from_self);
  }
  OVI_CHECK(target == receive.end());
  std::erase_if(send, to_self);
  std::erase_if(receive, from_self);
  std::erase_if(send, [](const Outgoing& piece) { return piece.bytes.empty(); });
  std::erase_if(receive, [](const Incoming& piece) { return piece.bytes.empty(); });
  if (stream == nullptr) return absl::OkStatus();
  if (state_->options.access == DeviceAccess::kDirect) return stream->Sync();

  // A part that goes to several ranks is copied once.
  std::size_t total = 0;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < send.size(); ++i) {
    const bool repeated = i > 0 && send[i].bytes.data() == send[i - 1].bytes.data() &&
                          send[i].bytes.size() == send[i - 1].bytes.size();
    places.push_back(repeated ? places.back() : total);
    if (!repeated) total += send[i].bytes.size();
  }
  for (const Incoming& piece : receive) {
    places.push_back(total);
    total += piece.bytes.size();
  }
  transfer.staging = std::make_unique_for_overwrite<std::byte[]>(total);
  transfer.stream = stream;
  auto place = places.begin();
  for (std::size_t i = 0; i < send.size(); ++i, ++place) {
    std::byte* const staged = transfer.staging.get() + *place;
    if (i == 0 || *place != *(place - 1)) stream->Download(staged, TensorOf(send[i].bytes));
    send[i].bytes = {staged, send[i].bytes.size()};
  }
  for (Incoming& piece : receive) {
    std::byte* const staged = transfer.staging.get() + *place++;
    transfer.arrivals.push_back({.device = piece.bytes, .staged = staged});
    piece.bytes = {staged, piece.bytes.size()};
  }
  return stream->Sync();
}

// The next neighbour first, so that no rank is sent to by all others at once.
absl::Status MpiCommunicator::StartMessages(MpiFlight& flight, std::span<const Outgoing> send,
                                            std::span<const Incoming> receive) const {
  std::vector<MpiOutgoingLane> outgoing;
  std::vector<MpiIncomingLane> incoming;
  for (int step = 1; step < size(); ++step) {
    MpiOutgoingLane to{.rank = (rank() + step) % size()};
    for (const Outgoing& piece : send) {
      if (piece.to == to.rank) to.pieces.push_back(piece.bytes);
    }
    if (!to.pieces.empty()) outgoing.push_back(std::move(to));
    MpiIncomingLane from{.rank = (rank() + size() - step) % size()};
    for (const Incoming& piece : receive) {
      if (piece.from == from.rank) from.pieces.push_back(piece.bytes);
    }
    if (!from.pieces.empty()) incoming.push_back(std::move(from));
  }
  return flight.Start(std::move(outgoing), std::move(incoming));
}

absl::StatusOr<std::unique_ptr<Communicator>> MpiCommunicator::Split(std::span<const int> ranks) {
  std::vector<int> sorted(ranks.begin(), ranks.end());
  std::sort(sorted.begin(), sorted.end());
  OVI_CHECK(!sorted.empty() && sorted.front() >= 0 && sorted.back() < size());
  OVI_CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
  OVI_CHECK(std::binary_search(sorted.begin(), sorted.end(), rank()));

  MPI_Group all = MPI_GROUP_NULL;
  MPI_Group chosen = MPI_GROUP_NULL;
  MPI_Comm comm = MPI_COMM_NULL;
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Comm_group(state_->comm, &all), "MPI_Comm_group"));
  absl::Status status =
      CheckMpi(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &chosen), "MPI_Group_incl");
  if (status.ok()) {
    status = CheckMpi(MPI_Comm_create_group(state_->comm, chosen, 0, &comm), "MPI_Comm_create_group");
    MPI_Group_free(&chosen);
  }
  MPI_Group_free(&all);
  OVI_RETURN_IF_ERROR(status);
  return Adopt(comm, state_->options, state_->hub);
}

// Every rank tells every other how many messages it has sent it, and receives what it has not received yet. A
// receive in flight whose message is not there is given up first; one whose message has begun to arrive ends
// by itself, since its sender polls here too.
absl::Status MpiCommunicator::Settle() {
  State& state = *state_;
  std::vector<std::shared_ptr<Transfer>> mine;
  for (const auto& transfer : state.hub->underway) {
    if (&transfer->state == &state) mine.push_back(transfer);
  }
  for (const auto& transfer : mine) transfer->flight.Cancel();

  const std::vector<std::uint64_t> sent = state.tally.sent;
  std::vector<std::uint64_t> expected(state.tally.sent.size());
  std::vector<Outgoing> tell;
  std::vector<Incoming> hear;
  for (int other = 0; other < size(); ++other) {
    const auto at = static_cast<std::size_t>(other);
    tell.push_back({other, std::as_bytes(std::span(sent).subspan(at, 1))});
    hear.push_back({other, std::as_writable_bytes(std::span(expected).subspan(at, 1))});
  }
  MessageTally tally_of_words(size());
  MpiFlight words(state.comm, tally_of_words, "settle", kSettleKind, state.options.chunk_bytes);
  OVI_RETURN_IF_ERROR(StartMessages(words, tell, hear));

  std::vector<std::byte> nobodys;
  for (Pace pace;;) {
    bool progressed = state.hub->Advance();  // errors of what is thrown away do not matter any more
    OVI_ASSIGN_OR_RETURN(const bool heard, words.Poll());
    progressed |= heard;
    const bool receives_done =
        std::all_of(mine.begin(), mine.end(), [](const auto& t) { return t->flight.receives_done(); });
    bool all_done =
        words.done() && std::all_of(mine.begin(), mine.end(), [](const auto& t) { return t->flight.done(); });
    for (int other = 0; receives_done && other < size(); ++other) {
      const auto at = static_cast<std::size_t>(other);
      if (tally_of_words.received[at] == 0) continue;
      while (state.tally.received[at] < expected[at]) {
        OVI_ASSIGN_OR_RETURN(const bool found, ThrowAwayMessage(state.comm, other, nobodys));
        if (!found) break;
        ++state.tally.received[at];
        progressed = true;
      }
      all_done &= state.tally.received[at] == expected[at];
    }
    if (all_done) break;
    if (progressed) {
      pace.Progressed();
    } else {
      pace.Rest();
    }
  }
  for (const auto& transfer : mine) {
    transfer->thrown_away = true;
    state.hub->Forget(*transfer);
  }
  state.tally = MessageTally(size());
  state.failure = absl::OkStatus();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> NewMpiCommunicator(const MpiCommunicatorOptions& options) {
  if (options.chunk_bytes < 1 || options.chunk_bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "chunk_bytes: must be 1..", std::numeric_limits<int>::max(), ", got ", options.chunk_bytes));
  }
  MPI_Comm comm = MPI_COMM_NULL;
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup"));
  return Adopt(comm, options, std::make_shared<Hub>());
}

}  // namespace ovi
