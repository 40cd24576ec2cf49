#include "coordinator/rpc/groups_service.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "coordinator/rpc/artifact_calls.h"
#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/node_facts.h"
#include "coordinator/rpc/status.h"

namespace ovi {
namespace {

class Attachment final : public GroupStream {
 public:
  static Attachment* Start(const GroupsService::Parts& parts, grpc::CallbackServerContext& context) {
    const auto attachment = std::make_shared<Attachment>(parts, context);
    attachment->Begin();
    return attachment.get();
  }
  // `context` outlives the stream.
  Attachment(const GroupsService::Parts& parts, grpc::CallbackServerContext& context)
      : parts_(parts), context_(context) {}

 private:
  void OnMessage(const v1::GroupMessage& message) override {
    if (message.has_hello() != group_.empty()) {
      End(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "a stream begins with one GroupHello"));
    } else if (message.has_hello()) {
      OnHello(message.hello());
    } else if (message.has_progress()) {
      const v1::AttemptProgress& progress = message.progress();
      parts_.controller.Post(core::AttemptProgressed{.group = group_,
                                                     .attempt = FromProto(progress.attempt()),
                                                     .progress = FromProto(progress.progress()),
                                                     .memory = FromProto(progress.memory())});
    } else if (message.has_finished()) {
      OnFinished(message.finished());
    }
  }

  void OnHello(const v1::GroupHello& hello) {
    const absl::Status known = parts_.credentials.CheckGroup(context_, hello.group_id());
    absl::StatusOr<core::GroupAttached> event = known.ok() ? ParseGroupHello(hello) : known;
    if (!event.ok()) {
      Log(LogLevel::kWarning, "group refused",
          {{"group", hello.group_id()}, {"reason", event.status().message()}});
      End(ToGrpcStatus(event.status()));
      return;
    }
    group_ = hello.group_id();
    const auto self = std::static_pointer_cast<Attachment>(shared_from_this());
    parts_.peers.AddGroup(group_, self);
    parts_.controller.Post(*std::move(event), [self](const core::Reply& accepted) {
      Log(LogLevel::kInfo, "group attached",
          {{"group", self->group_}, {"accepted", accepted.ok()}, {"reason", accepted.status().message()}});
      if (!accepted.ok()) self->End(ToGrpcStatus(accepted.status()));
    });
  }

  void OnFinished(const v1::AttemptFinished& finished) {
    core::AttemptReported event{.group = group_,
                                .attempt = FromProto(finished.attempt()),
                                .end = FromProto(finished.end()),
                                .message = finished.message(),
                                .artifacts = {},
                                .memory = FromProto(finished.memory())};
    for (const v1::Artifact& artifact : finished.artifacts()) {
      absl::StatusOr<core::Artifact> parsed = FromProto(artifact);
      if (parsed.ok()) event.artifacts.push_back(*std::move(parsed));
    }
    // A result counts only with all its files here, whatever the group believes.
    if (event.end == core::AttemptEnd::kCompleted) {
      const absl::Status there = parts_.artifacts.CheckComplete(event.attempt, event.artifacts);
      if (!there.ok() && finished.artifacts_size() > 0) {
        event.end = core::AttemptEnd::kWorkerCrash;
        event.message = absl::StrCat("the result is not complete: ", there.message());
      }
    }
    Log(LogLevel::kInfo, "attempt reported",
        {{"job", event.attempt.job},
         {"attempt", event.attempt.attempt},
         {"group", group_},
         {"message", event.message}});
    parts_.controller.Post(std::move(event));
  }

  void OnClosed() override {
    if (group_.empty() || !parts_.peers.RemoveGroup(group_, this)) return;
    Log(LogLevel::kInfo, "group detached", {{"group", group_}});
    parts_.controller.Post(core::GroupDetached{.group = group_});
  }

  const GroupsService::Parts parts_;
  const grpc::CallbackServerContext& context_;
  std::string group_;  // "" before the hello
};

}  // namespace

grpc::ServerBidiReactor<v1::GroupMessage, v1::GroupCommand>* GroupsService::Attach(
    grpc::CallbackServerContext* context) {
  return Attachment::Start(parts_, *context);
}

grpc::ServerReadReactor<v1::UploadArtifactRequest>* GroupsService::UploadArtifact(
    grpc::CallbackServerContext* context, v1::UploadArtifactResponse* /*response*/) {
  UploadGate gate;
  gate.check = [this, context](const v1::UploadArtifactRequest::Begin& begin) {
    return parts_.credentials.CheckGroup(*context, begin.group_id());
  };
  gate.allow = [this](const v1::UploadArtifactRequest::Begin& begin,
                      std::function<void(absl::Status)> decided) {
    parts_.controller.Post(
        core::ArtifactBegun{.group = begin.group_id(), .attempt = FromProto(begin.attempt())},
        [decided = std::move(decided)](const core::Reply& allowed) { decided(allowed.status()); });
  };
  return ReceiveArtifact(*context, parts_.artifacts, std::move(gate));
}

grpc::ServerWriteReactor<v1::DownloadInputResponse>* GroupsService::DownloadInput(
    grpc::CallbackServerContext* context, const v1::DownloadInputRequest* request) {
  const absl::Status known = parts_.credentials.CheckGroup(*context, request->group_id());
  absl::StatusOr<StoredFile> file =
      known.ok() ? parts_.artifacts.OpenInput(request->sha256()) : absl::StatusOr<StoredFile>(known);
  return new FileSender<v1::DownloadInputResponse>(
      std::move(file),
      [](std::string piece, v1::DownloadInputResponse& response) { response.set_data(std::move(piece)); });
}

}  // namespace ovi
