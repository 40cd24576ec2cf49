// The groups' streams, and the calls by which a group hands over its files and fetches first frames.
#pragma once

#include "coordinator/controller/controller.h"
#include "coordinator/rpc/credentials.h"
#include "coordinator/rpc/peers.h"
#include "ovi/v1/groups.grpc.pb.h"

namespace ovi {

// Borrows its parts; they outlive the server.
class GroupsService final : public v1::Groups::CallbackService {
 public:
  struct Parts {
    Controller& controller;
    Peers& peers;
    ArtifactStore& artifacts;
    const Credentials& credentials;
  };
  explicit GroupsService(Parts parts) : parts_(parts) {}

  grpc::ServerBidiReactor<v1::GroupMessage, v1::GroupCommand>* Attach(
      grpc::CallbackServerContext* context) override;
  grpc::ServerReadReactor<v1::UploadArtifactRequest>* UploadArtifact(
      grpc::CallbackServerContext* context, v1::UploadArtifactResponse* response) override;
  grpc::ServerWriteReactor<v1::DownloadInputResponse>* DownloadInput(
      grpc::CallbackServerContext* context, const v1::DownloadInputRequest* request) override;

 private:
  Parts parts_;
};

}  // namespace ovi
