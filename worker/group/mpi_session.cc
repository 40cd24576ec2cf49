#include "worker/group/mpi_session.h"

#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <list>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace ovi {
namespace {

absl::Status Checked(int code, const char* call) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::UnavailableError(
      absl::StrCat(call, ": ", std::string(text, static_cast<std::size_t>(length))));
}

// Well below the 2^31 - 1 of Open MPI.
int TagNumber(MessageTag tag) {
  constexpr std::uint32_t kAttempts = std::uint32_t{1} << 24;
  return static_cast<int>((tag.attempt % kAttempts) * 4) + static_cast<int>(tag.kind);
}

}  // namespace

struct MpiSession::Outbox {
  struct Message {
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  std::list<Message> messages;  // a list: MPI reads the bytes where they are
};

MpiSession::MpiSession() : outbox_(std::make_unique<Outbox>()) {}

absl::StatusOr<std::unique_ptr<MpiSession>> MpiSession::Start() {
  int provided = 0;
  OVI_RETURN_IF_ERROR(
      Checked(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread"));
  auto session = std::unique_ptr<MpiSession>(new MpiSession);
  if (provided < MPI_THREAD_FUNNELED) return absl::FailedPreconditionError("MPI: not usable beside threads");
  OVI_RETURN_IF_ERROR(
      Checked(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  OVI_RETURN_IF_ERROR(Checked(MPI_Comm_rank(MPI_COMM_WORLD, &session->rank_), "MPI_Comm_rank"));
  OVI_RETURN_IF_ERROR(Checked(MPI_Comm_size(MPI_COMM_WORLD, &session->size_), "MPI_Comm_size"));
  MPI_Comm node = MPI_COMM_NULL;
  OVI_RETURN_IF_ERROR(
      Checked(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, session->rank_, MPI_INFO_NULL, &node),
              "MPI_Comm_split_type"));
  const absl::Status counted = Checked(MPI_Comm_size(node, &session->ranks_on_node_), "MPI_Comm_size");
  MPI_Comm_free(&node);
  OVI_RETURN_IF_ERROR(counted);
  return session;
}

MpiSession::~MpiSession() {
  // What is still on its way is for ranks that have stopped listening.
  for (Outbox::Message& message : outbox_->messages) MPI_Request_free(&message.request);
  MPI_Finalize();
}

absl::Status MpiSession::Send(int to, MessageTag tag, std::string_view bytes) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    return absl::InternalError(absl::StrCat("message of ", bytes.size(), " bytes, more than MPI counts"));
  }
  OVI_RETURN_IF_ERROR(AllSent().status());  // forgets what has been sent
  Outbox::Message& message = outbox_->messages.emplace_back(Outbox::Message{.bytes = std::string(bytes)});
  const int code = MPI_Isend(message.bytes.data(), static_cast<int>(message.bytes.size()), MPI_BYTE, to,
                             TagNumber(tag), MPI_COMM_WORLD, &message.request);
  if (code != MPI_SUCCESS) outbox_->messages.pop_back();
  return Checked(code, "MPI_Isend");
}

absl::StatusOr<bool> MpiSession::AllSent() {
  for (auto message = outbox_->messages.begin(); message != outbox_->messages.end();) {
    int done = 0;
    OVI_RETURN_IF_ERROR(Checked(MPI_Test(&message->request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
    message = done != 0 ? outbox_->messages.erase(message) : std::next(message);
  }
  return outbox_->messages.empty();
}

absl::StatusOr<bool> MpiSession::HasMessage(int from, MessageTag tag) {
  int found = 0;
  OVI_RETURN_IF_ERROR(
      Checked(MPI_Iprobe(from, TagNumber(tag), MPI_COMM_WORLD, &found, MPI_STATUS_IGNORE), "MPI_Iprobe"));
  return found != 0;
}

absl::StatusOr<std::optional<std::string>> MpiSession::TryReceive(int from, MessageTag tag) {
  int found = 0;
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  OVI_RETURN_IF_ERROR(
      Checked(MPI_Improbe(from, TagNumber(tag), MPI_COMM_WORLD, &found, &message, &status), "MPI_Improbe"));
  if (found == 0) return std::optional<std::string>();
  int count = 0;
  OVI_RETURN_IF_ERROR(Checked(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count"));
  std::string bytes(static_cast<std::size_t>(count), '\0');
  OVI_RETURN_IF_ERROR(
      Checked(MPI_Mrecv(bytes.data(), count, MPI_BYTE, &message, MPI_STATUS_IGNORE), "MPI_Mrecv"));
  return std::optional<std::string>(std::move(bytes));
}

void MpiSession::Abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

void Nap::Take() {
  std::this_thread::sleep_for(next_);
  next_ = std::min(longest_, next_ * 2);
}

}  // namespace ovi
