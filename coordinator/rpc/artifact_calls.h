// The calls that move files: in pieces, to and from the artifact store.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/artifacts/artifact_store.h"
#include "coordinator/rpc/status.h"
#include "ovi/v1/groups.pb.h"
#include "ovi/v1/jobs.pb.h"

namespace ovi {

inline constexpr std::size_t kPieceBytesMax = 1 << 20;

// Sends an open file, perhaps after one message of its own, then finishes. Owns itself.
template <typename Response>
class FileSender final : public grpc::ServerWriteReactor<Response> {
 public:
  // `fill(piece, response)` puts a piece into a message.
  using Fill = void (*)(std::string piece, Response& response);

  FileSender(absl::StatusOr<StoredFile> file, Fill fill) : file_(std::move(file)), fill_(fill) {
    if (file_.ok()) {
      Next();
    } else {
      this->Finish(ToGrpcStatus(file_.status()));
    }
  }
  FileSender(absl::StatusOr<StoredFile> file, Fill fill, Response first)
      : file_(std::move(file)), fill_(fill) {
    if (file_.ok()) {
      response_ = std::move(first);
      this->StartWrite(&response_);
    } else {
      this->Finish(ToGrpcStatus(file_.status()));
    }
  }

 private:
  void OnWriteDone(bool ok) override {
    if (ok) {
      Next();
    } else {
      this->Finish(grpc::Status::CANCELLED);
    }
  }
  void Next() {
    absl::StatusOr<std::string> piece = file_->Read(offset_, kPieceBytesMax);
    if (!piece.ok() || piece->empty()) {
      this->Finish(ToGrpcStatus(piece.status()));
      return;
    }
    offset_ += static_cast<std::int64_t>(piece->size());
    response_.Clear();
    fill_(*std::move(piece), response_);
    this->StartWrite(&response_);
  }
  void OnDone() override { delete this; }

  absl::StatusOr<StoredFile> file_;
  Fill fill_;
  std::int64_t offset_ = 0;
  Response response_;
};

grpc::ServerReadReactor<v1::UploadInputRequest>* ReceiveInput(grpc::CallbackServerContext& context,
                                                              ArtifactStore& artifacts,
                                                              v1::UploadInputResponse& response);

// Who may hand over files, asked once the first message is there.
struct UploadGate {
  // At once: may this caller speak for the group at all?
  std::function<absl::Status(const v1::UploadArtifactRequest::Begin& begin)> check;
  // Calls `decided` once, from any thread.
  std::function<void(const v1::UploadArtifactRequest::Begin& begin,
                     std::function<void(absl::Status)> decided)>
      allow;
};
grpc::ServerReadReactor<v1::UploadArtifactRequest>* ReceiveArtifact(grpc::CallbackServerContext& context,
                                                                    ArtifactStore& artifacts,
                                                                    UploadGate gate);

}  // namespace ovi
