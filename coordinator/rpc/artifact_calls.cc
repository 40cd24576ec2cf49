#include "coordinator/rpc/artifact_calls.h"

#include <memory>
#include <span>
#include <utility>

#include "base/status.h"
#include "coordinator/rpc/convert.h"
#include "worker/media/image.h"

namespace ovi {
namespace {

// Takes a first frame. Owns itself.
class InputReceiver final : public grpc::ServerReadReactor<v1::UploadInputRequest> {
 public:
  InputReceiver(grpc::CallbackServerContext& context, ArtifactStore& artifacts,
                v1::UploadInputResponse& response)
      : context_(context), response_(response), upload_(artifacts.BeginInput()) {
    if (upload_.ok()) {
      StartRead(&request_);
    } else {
      Finish(ToGrpcStatus(upload_.status()));
    }
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(context_.IsCancelled() ? grpc::Status::CANCELLED : ToGrpcStatus(Complete()));
      return;
    }
    const absl::Status written = (*upload_)->Write(request_.data());
    if (!written.ok()) {
      Finish(ToGrpcStatus(written));
      return;
    }
    bytes_.append(request_.data());
    StartRead(&request_);
  }

  absl::Status Complete() {
    // Refused now rather than by a worker an hour later.
    const std::span data(reinterpret_cast<const std::uint8_t*>(bytes_.data()), bytes_.size());
    OVI_ASSIGN_OR_RETURN(const Image image, DecodeImage(data, "the first frame"));
    OVI_ASSIGN_OR_RETURN(const std::string sha256, (*upload_)->Finish());
    response_.set_sha256(sha256);
    response_.set_size_bytes(static_cast<std::int64_t>(bytes_.size()));
    response_.set_height(static_cast<int>(image.height));
    response_.set_width(static_cast<int>(image.width));
    return absl::OkStatus();
  }

  void OnDone() override { delete this; }

  grpc::CallbackServerContext& context_;
  v1::UploadInputResponse& response_;
  absl::StatusOr<std::unique_ptr<InputUpload>> upload_;
  v1::UploadInputRequest request_;
  std::string bytes_;  // the store limits them
};

// Takes one file of a result. Owns itself.
class ArtifactReceiver final : public grpc::ServerReadReactor<v1::UploadArtifactRequest> {
 public:
  ArtifactReceiver(grpc::CallbackServerContext& context, ArtifactStore& artifacts, UploadGate gate)
      : context_(context), artifacts_(artifacts), gate_(std::move(gate)) {
    StartRead(&request_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      OnEnd();
    } else if (upload_ == nullptr) {
      OnBegin();
    } else if (const absl::Status written = upload_->Write(request_.data()); !written.ok()) {
      Finish(ToGrpcStatus(written));
    } else {
      StartRead(&request_);
    }
  }

  void OnBegin() {
    if (!request_.has_begin()) {
      Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "an upload starts with `begin`"));
      return;
    }
    // The file first, on this thread: the one that decides must not wait for a disk.
    const absl::Status known = gate_.check(request_.begin());
    const absl::Status opened = known.ok() ? Open() : known;
    if (!opened.ok()) {
      Finish(ToGrpcStatus(opened));
      return;
    }
    gate_.allow(request_.begin(), [this](const absl::Status& allowed) {
      if (allowed.ok()) {
        StartRead(&request_);
      } else {
        Finish(ToGrpcStatus(allowed));
      }
    });
  }

  absl::Status Open() {
    OVI_ASSIGN_OR_RETURN(const core::Artifact artifact, FromProto(request_.begin().artifact()));
    OVI_ASSIGN_OR_RETURN(upload_, artifacts_.BeginUpload(FromProto(request_.begin().attempt()), artifact));
    return absl::OkStatus();
  }

  void OnEnd() {
    if (context_.IsCancelled()) {
      Finish(grpc::Status::CANCELLED);
    } else if (upload_ == nullptr) {
      Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "an upload starts with `begin`"));
    } else {
      Finish(ToGrpcStatus(upload_->Finish()));
    }
  }

  void OnDone() override { delete this; }

  grpc::CallbackServerContext& context_;
  ArtifactStore& artifacts_;
  UploadGate gate_;
  std::unique_ptr<Upload> upload_;
  v1::UploadArtifactRequest request_;
};

}  // namespace

grpc::ServerReadReactor<v1::UploadInputRequest>* ReceiveInput(grpc::CallbackServerContext& context,
                                                              ArtifactStore& artifacts,
                                                              v1::UploadInputResponse& response) {
  return new InputReceiver(context, artifacts, response);
}

grpc::ServerReadReactor<v1::UploadArtifactRequest>* ReceiveArtifact(grpc::CallbackServerContext& context,
                                                                    ArtifactStore& artifacts,
                                                                    UploadGate gate) {
  return new ArtifactReceiver(context, artifacts, std::move(gate));
}

}  // namespace ovi
