#include "worker/parallel/mpi_flight.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

// Of a lane. Two are as fast through shared memory; sockets with a longer way have use for more.
constexpr int kUnderwayMax = 4;

// Open MPI's shared memory and sockets send more than this only to a rank that receives (4 and 64 KiB).
constexpr int kEagerBytesMax = 64 << 10;

// At most 32,767, which is what every MPI has. Nobody has 4,096 operations in flight.
constexpr int TagOf(int kind, std::uint64_t flight) {
  return static_cast<int>(flight % 4096) * MpiFlight::kKinds + kind;
}

std::string Where(std::string_view name, bool incoming, int rank) {
  return absl::StrCat(std::string(name), incoming ? " from rank " : " to rank ", rank);
}

template <typename Byte>
std::span<Byte> NextChunk(MpiLane<Byte>& lane, std::size_t chunk_bytes) {
  const std::span<Byte> rest = lane.pieces[lane.piece].subspan(lane.offset);
  if (rest.size() > chunk_bytes) {
    lane.offset += chunk_bytes;
    return rest.first(chunk_bytes);
  }
  ++lane.piece;
  lane.offset = 0;
  return rest;
}

}  // namespace

absl::Status CheckMpi(int code, std::string_view what) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::UnavailableError(
      absl::StrCat(std::string(what), ": ", std::string(text, static_cast<std::size_t>(length))));
}

MpiFlight::~MpiFlight() {
  for (MPI_Request& request : requests_) MPI_Request_free(&request);
}

absl::Status MpiFlight::Start(std::vector<MpiOutgoingLane> outgoing, std::vector<MpiIncomingLane> incoming) {
  outgoing_ = std::move(outgoing);
  incoming_ = std::move(incoming);
  // MPI keeps the order of messages that look alike, but the last chunks of one operation are started after
  // the first ones of the next.
  for (MpiOutgoingLane& lane : outgoing_) {
    lane.tag = TagOf(kind_, tally_.flights_out[static_cast<std::size_t>(lane.rank)]++);
  }
  for (MpiIncomingLane& lane : incoming_) {
    lane.tag = TagOf(kind_, tally_.flights_in[static_cast<std::size_t>(lane.rank)]++);
  }
  // Receives first, so that what comes finds its place.
  for (std::size_t i = 0; i < incoming_.size(); ++i) OVI_RETURN_IF_ERROR(StartSome(incoming_[i], i));
  for (std::size_t i = 0; i < outgoing_.size(); ++i) OVI_RETURN_IF_ERROR(StartSome(outgoing_[i], i));
  return absl::OkStatus();
}

absl::Status MpiFlight::StartSome(MpiIncomingLane& lane, std::size_t index) {
  for (; lane.underway < kUnderwayMax && lane.piece < lane.pieces.size(); ++lane.underway) {
    const std::span<std::byte> bytes = NextChunk(lane, chunk_bytes_);
    const int count = static_cast<int>(bytes.size());
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Irecv(bytes.data(), count, MPI_BYTE, lane.rank, lane.tag, comm_, &request);
    if (code != MPI_SUCCESS) return CheckMpi(code, Where(name_, true, lane.rank));
    requests_.push_back(request);
    messages_.push_back({.lane = index, .rank = lane.rank, .bytes = count, .incoming = true});
    ++receives_;
  }
  return absl::OkStatus();
}

absl::Status MpiFlight::StartSome(MpiOutgoingLane& lane, std::size_t index) {
  for (; lane.underway < kUnderwayMax && lane.piece < lane.pieces.size(); ++lane.underway) {
    const std::span<const std::byte> bytes = NextChunk(lane, chunk_bytes_);
    const int count = static_cast<int>(bytes.size());
    MPI_Request request = MPI_REQUEST_NULL;
    const int code = MPI_Isend(bytes.data(), count, MPI_BYTE, lane.rank, lane.tag, comm_, &request);
    if (code != MPI_SUCCESS) return CheckMpi(code, Where(name_, false, lane.rank));
    requests_.push_back(request);
    messages_.push_back({.lane = index, .rank = lane.rank, .bytes = count});
    ++tally_.sent[static_cast<std::size_t>(lane.rank)];
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> MpiFlight::Poll() {
  if (requests_.empty()) return false;
  completed_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int count = 0;
  const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                                completed_.data(), statuses_.data());
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) return CheckMpi(code, name_);
  if (count == MPI_UNDEFINED || count == 0) return false;

  absl::Status first;
  bool others_take_part = false;
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    Message& message = messages_[static_cast<std::size_t>(completed_[at])];
    // The statuses' own codes are set only where one of them is an error.
    const int own_code = code == MPI_SUCCESS ? MPI_SUCCESS : statuses_[at].MPI_ERROR;
    first.Update(Complete(message, statuses_[at], own_code));
    message.over = true;
    others_take_part |= message.incoming || message.bytes > kEagerBytesMax;
    --(message.incoming ? incoming_[message.lane].underway : outgoing_[message.lane].underway);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (messages_[i].over) continue;
    requests_[kept] = requests_[i];
    messages_[kept++] = messages_[i];
  }
  requests_.resize(kept);
  messages_.resize(kept);
  if (!first.ok()) return first;
  if (!cancelled_) {
    for (std::size_t i = 0; i < incoming_.size(); ++i) OVI_RETURN_IF_ERROR(StartSome(incoming_[i], i));
    for (std::size_t i = 0; i < outgoing_.size(); ++i) OVI_RETURN_IF_ERROR(StartSome(outgoing_[i], i));
  }
  return others_take_part;
}

absl::Status MpiFlight::Complete(const Message& message, MPI_Status& status, int code) {
  if (message.incoming) {
    --receives_;
    int cancelled = 0;
    MPI_Test_cancelled(&status, &cancelled);
    if (cancelled != 0) return absl::OkStatus();
    ++tally_.received[static_cast<std::size_t>(message.rank)];
  }
  const std::string where = Where(name_, message.incoming, message.rank);
  if (code != MPI_SUCCESS) {
    int error_class = 0;
    MPI_Error_class(code, &error_class);
    if (error_class != MPI_ERR_TRUNCATE) return CheckMpi(code, where);
    return absl::InternalError(absl::StrCat(where, ": more than the ", message.bytes, " bytes expected"));
  }
  if (!message.incoming) return absl::OkStatus();
  int bytes = 0;
  OVI_RETURN_IF_ERROR(CheckMpi(MPI_Get_count(&status, MPI_BYTE, &bytes), where));
  if (bytes == message.bytes) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(where, ": ", bytes, " bytes, ", message.bytes, " expected"));
}

void MpiFlight::Cancel() {
  cancelled_ = true;
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    if (messages_[i].incoming) MPI_Cancel(&requests_[i]);
  }
}

}  // namespace ovi
