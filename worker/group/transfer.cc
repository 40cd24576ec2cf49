#include "worker/group/transfer.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/status.h"

namespace ovi {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kPieceBytes = 512 * 1024;
constexpr milliseconds kPauseMin{200};
constexpr milliseconds kPauseMax{2'000};
constexpr int kDamagedMax = 3;  // a file that arrives damaged is sent so many times
constexpr std::chrono::minutes kCallMax{10};

// A call's end says nothing about the next one's.
bool IsWorthTrying(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:  // by the coordinator, as it stops
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::DATA_LOSS:
      return true;
    default:
      return false;
  }
}

absl::Status FromGrpc(const grpc::Status& status, const std::string& what) {
  const std::string message = absl::StrCat(what, ": ", status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::NOT_FOUND:
      return absl::InvalidArgumentError(message);
    default:
      return absl::UnavailableError(message);
  }
}

using Call = std::function<grpc::Status(v1::Groups::Stub& stub, grpc::ClientContext& context)>;

// Makes the call until it succeeds or is not worth trying again.
absl::Status Persist(CoordinatorLink& link, const std::string& what, const Call& call) {
  const steady_clock::time_point deadline = steady_clock::now() + link.delivery_max();
  milliseconds pause = kPauseMin;
  for (int damaged = 0;;) {
    if (link.interrupted()) return absl::CancelledError("cancelled");
    grpc::Status status(grpc::StatusCode::UNAVAILABLE, "no connection yet");
    if (const std::shared_ptr<v1::Groups::Stub> stub = link.stub()) {
      grpc::ClientContext context;
      link.Authorise(context);
      context.set_deadline(std::chrono::system_clock::now() + kCallMax);
      status = call(*stub, context);
    }
    if (status.ok()) return absl::OkStatus();
    if (link.interrupted()) return absl::CancelledError("cancelled");
    if (status.error_code() == grpc::StatusCode::DATA_LOSS) ++damaged;
    if (!IsWorthTrying(status) || damaged >= kDamagedMax || steady_clock::now() >= deadline) {
      return FromGrpc(status, what);
    }
    Log(LogLevel::kWarning, "transfer fails, trying again",
        {{"what", what}, {"reason", status.error_message()}, {"pause_ms", pause.count()}});
    if (!link.Pause(pause)) return absl::CancelledError("cancelled");
    pause = std::min(kPauseMax, pause * 2);
  }
}

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

absl::StatusOr<v1::Artifact> UploadArtifact(CoordinatorLink& link, const v1::AttemptRef& attempt,
                                            const ArtifactFile& file) {
  absl::StatusOr<std::shared_ptr<const MappedFile>> mapped = MappedFile::Open(file.path);
  if (!mapped.ok()) return absl::UnavailableError(mapped.status().message());
  const std::string_view bytes = TextOf((*mapped)->bytes());
  v1::Artifact artifact;
  artifact.set_kind(file.kind);
  artifact.set_file_name(file.file_name);
  artifact.set_sha256(Sha256Hex(bytes));
  artifact.set_size_bytes(static_cast<std::int64_t>(bytes.size()));

  OVI_RETURN_IF_ERROR(Persist(link, absl::StrCat("upload of ", file.file_name),
                              [&](v1::Groups::Stub& stub, grpc::ClientContext& context) {
                                v1::UploadArtifactResponse response;
                                const std::unique_ptr<grpc::ClientWriter<v1::UploadArtifactRequest>> writer =
                                    stub.UploadArtifact(&context, &response);
                                v1::UploadArtifactRequest request;
                                *request.mutable_begin()->mutable_attempt() = attempt;
                                request.mutable_begin()->set_group_id(link.group_id());
                                *request.mutable_begin()->mutable_artifact() = artifact;
                                bool open = writer->Write(request);
                                for (std::size_t at = 0; open && at < bytes.size(); at += kPieceBytes) {
                                  request.set_data(std::string(bytes.substr(at, kPieceBytes)));
                                  open = writer->Write(request);
                                  link.Beat();
                                  if (link.interrupted()) context.TryCancel();
                                }
                                writer->WritesDone();
                                return writer->Finish();
                              }));
  return artifact;
}

absl::StatusOr<std::string> DownloadInput(CoordinatorLink& link, const std::string& sha256,
                                          std::int64_t bytes_max) {
  std::string bytes;
  bool too_large = false;
  OVI_RETURN_IF_ERROR(
      Persist(link, "download of the first frame", [&](v1::Groups::Stub& stub, grpc::ClientContext& context) {
        v1::DownloadInputRequest request;
        request.set_group_id(link.group_id());
        request.set_sha256(sha256);
        const std::unique_ptr<grpc::ClientReader<v1::DownloadInputResponse>> reader =
            stub.DownloadInput(&context, request);
        bytes.clear();
        for (v1::DownloadInputResponse piece; reader->Read(&piece);) {
          bytes += piece.data();
          too_large = static_cast<std::int64_t>(bytes.size()) > bytes_max;
          if (too_large || link.interrupted()) context.TryCancel();
        }
        grpc::Status status = reader->Finish();
        if (too_large) return grpc::Status::OK;
        if (!status.ok() || Sha256Hex(bytes) == sha256) return status;
        return grpc::Status(grpc::StatusCode::DATA_LOSS, "what arrived has another hash");
      }));
  if (!too_large) return bytes;
  return absl::InvalidArgumentError(
      absl::StrCat("first frame: has more than the ", bytes_max, " bytes allowed"));
}

}  // namespace ovi
