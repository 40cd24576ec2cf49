#include "client/ovictl/transfer.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/part_file.h"
#include "base/regular_file.h"
#include "base/sha256.h"
#include "base/small_file.h"
#include "base/status.h"
#include "base/text.h"
#include "client/ovictl/errors.h"
#include "worker/media/image.h"

namespace ovi::client {
namespace {

constexpr std::int64_t kFrameBytesMax = 20 << 20;
constexpr std::size_t kPieceBytes = 1 << 20;

std::span<const std::uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// A call that moves `bytes` may take longer than others, down to this rate.
std::chrono::milliseconds TimeFor(std::int64_t bytes, const Connection& connection) {
  constexpr std::int64_t kBytesPerSecondMin = 256 << 10;
  return connection.timeout() + std::chrono::seconds(std::max<std::int64_t>(bytes, 0) / kBytesPerSecondMin);
}

absl::Status UploadFrame(Connection& connection, const std::string& path, const std::string& bytes) {
  const std::string sha256 = Sha256Hex(bytes);
  v1::UploadInputResponse response;
  const auto upload = [&](grpc::ClientContext& context) {
    const auto writer = connection.jobs().UploadInput(&context, &response);
    v1::UploadInputRequest request;
    for (std::size_t at = 0; at < bytes.size(); at += kPieceBytes) {
      request.set_data(bytes.substr(at, kPieceBytes));
      if (!writer->Write(request)) break;  // Finish says why
    }
    writer->WritesDone();
    return writer->Finish();
  };
  const auto time = TimeFor(static_cast<std::int64_t>(bytes.size()), connection);
  OVI_RETURN_IF_ERROR(About(path, connection.Run(upload, time, Retry::kWhileUnavailable)));
  if (response.sha256() == sha256) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": arrived damaged: sha256 ", sha256,
                                          " was sent, the coordinator has ", response.sha256()));
}

// What a download writes, counted and hashed on its way.
struct Arrival {
  std::unique_ptr<PartFile> file;
  Sha256 hash;
  std::int64_t bytes = 0;
};

// Copies the stream into `arrival`; stops early when more comes than was announced.
grpc::Status Receive(v1::Jobs::Stub& jobs, grpc::ClientContext& context, const std::string& job_id,
                     const v1::Artifact& artifact, Arrival& arrival, absl::Status& local_error) {
  v1::DownloadArtifactRequest request;
  request.set_job_id(job_id);
  request.set_file_name(artifact.file_name());
  const auto reader = jobs.DownloadArtifact(&context, request);
  v1::DownloadArtifactResponse response;
  while (local_error.ok() && reader->Read(&response)) {
    arrival.bytes += static_cast<std::int64_t>(response.data().size());
    if (arrival.bytes > artifact.size_bytes()) break;
    arrival.hash.Update(response.data());
    local_error = arrival.file->Write(BytesOf(response.data()));
  }
  if (!local_error.ok() || arrival.bytes > artifact.size_bytes()) {
    context.TryCancel();
    reader->Finish();
    return grpc::Status::OK;  // the caller sees what is wrong
  }
  return reader->Finish();
}

bool HasHash(const std::string& path, const v1::Artifact& artifact) {
  const absl::StatusOr<RegularFile> file = OpenRegularFile(path);
  if (!file.ok() || file->bytes != artifact.size_bytes()) return false;
  Sha256 hash;
  std::string buffer(kPieceBytes, '\0');
  for (ssize_t count; (count = ::read(file->fd.get(), buffer.data(), buffer.size())) > 0;) {
    hash.Update(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
  }
  return hash.FinishHex() == artifact.sha256();
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> CheckFrames(const JobSpec& job) {
  std::map<std::string, std::string> frames;
  for (const PromptItem& item : job.prompts) {
    const std::string& path = item.image_path;
    if (path.empty() || frames.contains(path)) continue;
    const absl::StatusOr<std::string> bytes = ReadSmallFile(path, kFrameBytesMax);
    if (!bytes.ok()) return CannotBegin(bytes.status());
    OVI_RETURN_IF_ERROR(CannotBegin(DecodeImage(BytesOf(*bytes), path).status()));
    frames[path] = Sha256Hex(*bytes);
  }
  return frames;
}

absl::Status UploadFrames(Connection& connection, const std::map<std::string, std::string>& frames) {
  std::set<std::string> sent;
  for (const auto& [path, sha256] : frames) {
    if (!sent.insert(sha256).second) continue;
    // Read again, not kept: a list may name a thousand images of 20 MiB.
    OVI_ASSIGN_OR_RETURN(const std::string bytes, ReadSmallFile(path, kFrameBytesMax));
    if (Sha256Hex(bytes) != sha256) {
      return absl::FailedPreconditionError(absl::StrCat(path, ": was changed while the job was submitted"));
    }
    OVI_RETURN_IF_ERROR(UploadFrame(connection, path, bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<Fetched> FetchArtifact(Connection& connection, const std::string& job_id,
                                      const v1::Artifact& artifact, const std::string& folder) {
  const std::string name = absl::StrCat(job_id, "_", artifact.file_name());
  if (artifact.file_name().empty() || Escaped(name) != name || name.find('/') != std::string::npos) {
    return absl::InternalError(
        absl::StrCat("job ", job_id, ": the file name ", Quoted(artifact.file_name()), " is no plain name"));
  }
  Fetched fetched{.path = (std::filesystem::path(folder) / name).string()};
  if (HasHash(fetched.path, artifact)) {
    fetched.was_there = true;
    return fetched;
  }
  Arrival arrival;
  OVI_ASSIGN_OR_RETURN(arrival.file, PartFile::Create(fetched.path));
  absl::Status local_error;
  const auto download = [&](grpc::ClientContext& context) {
    return Receive(connection.jobs(), context, job_id, artifact, arrival, local_error);
  };
  const absl::Status status =
      connection.Run(download, TimeFor(artifact.size_bytes(), connection), Retry::kNever);
  OVI_RETURN_IF_ERROR(local_error);
  OVI_RETURN_IF_ERROR(About(absl::StrCat("job ", job_id, ": ", artifact.file_name()), status));
  const std::string sha256 = arrival.hash.FinishHex();
  if (arrival.bytes != artifact.size_bytes() || sha256 != artifact.sha256()) {
    return absl::DataLossError(absl::StrCat(
        "job ", job_id, ": ", artifact.file_name(), " arrived damaged and was thrown away: sha256 ", sha256,
        " and ", arrival.bytes, " bytes, expected ", artifact.sha256(), " and ", artifact.size_bytes()));
  }
  OVI_RETURN_IF_ERROR(arrival.file->Commit());
  return fetched;
}

absl::Status PrepareFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, ": cannot make this folder: ", error.message()));
  }
  return PartFile::Create(folder + "/ovictl-probe").status();
}

}  // namespace ovi::client
