#include "tests/group/fake_coordinator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"

namespace ovi {
namespace {

constexpr std::chrono::minutes kPatience{1};

}  // namespace

v1::AttemptRef RefOf(const std::string& job_id, int attempt) {
  v1::AttemptRef ref;
  ref.set_job_id(job_id);
  ref.set_attempt(attempt);
  return ref;
}

FakeCoordinator::FakeCoordinator(std::string token) : token_(std::move(token)) {
  Start();
}

FakeCoordinator::~FakeCoordinator() {
  Stop();
}

void FakeCoordinator::Start() {
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  int port = 0;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  OVI_CHECK(server_ != nullptr);
  port_ = port;
  address_ = absl::StrCat("127.0.0.1:", port);
}

void FakeCoordinator::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());  // cancels what is open
  server_->Wait();
  server_ = nullptr;
}

void FakeCoordinator::BreakStreams() {
  const std::lock_guard lock(mutex_);
  for (const OpenStream& open : streams_) open.context->TryCancel();
}

bool FakeCoordinator::Send(const v1::GroupCommand& command) {
  const std::lock_guard lock(mutex_);
  return !streams_.empty() && streams_.back().stream->Write(command);
}

bool FakeCoordinator::Run(const v1::AttemptRef& attempt, const v1::JobSpec& spec) {
  v1::GroupCommand command;
  *command.mutable_run()->mutable_attempt() = attempt;
  *command.mutable_run()->mutable_spec() = spec;
  return Send(command);
}

bool FakeCoordinator::Cancel(const v1::AttemptRef& attempt) {
  v1::GroupCommand command;
  *command.mutable_cancel()->mutable_attempt() = attempt;
  return Send(command);
}

bool FakeCoordinator::ShutDown() {
  v1::GroupCommand command;
  command.mutable_shut_down();
  return Send(command);
}

bool FakeCoordinator::Acknowledge(const v1::AttemptRef& attempt) {
  v1::GroupCommand command;
  *command.mutable_acknowledged()->mutable_attempt() = attempt;
  return Send(command);
}

void FakeCoordinator::set_acknowledges(bool acknowledges) {
  const std::lock_guard lock(mutex_);
  acknowledges_ = acknowledges;
}

std::string FakeCoordinator::AddInput(const std::string& bytes, const std::string& claimed) {
  std::string sha256 = claimed.empty() ? Sha256Hex(bytes) : claimed;
  const std::lock_guard lock(mutex_);
  inputs_[sha256] = bytes;
  return sha256;
}

void FakeCoordinator::RefuseGroups(grpc::Status status) {
  const std::lock_guard lock(mutex_);
  refusal_ = std::move(status);
}

void FakeCoordinator::FailUploads(std::vector<grpc::Status> statuses) {
  const std::lock_guard lock(mutex_);
  upload_failures_ = std::move(statuses);
}

bool FakeCoordinator::WaitUntil(const std::function<bool()>& done) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, done);
}

std::vector<v1::GroupHello> FakeCoordinator::WaitForHellos(std::size_t count) {
  WaitUntil([&] { return hellos_.size() >= count; });
  const std::lock_guard lock(mutex_);
  return hellos_;
}

std::vector<v1::AttemptFinished> FakeCoordinator::WaitForFinished(std::size_t count) {
  WaitUntil([&] { return finished_.size() >= count; });
  const std::lock_guard lock(mutex_);
  return finished_;
}

bool FakeCoordinator::WaitForProgress(const std::function<bool(const v1::AttemptProgress&)>& matches) {
  return WaitUntil([&] { return std::any_of(progress_.begin(), progress_.end(), matches); });
}

bool FakeCoordinator::WaitForHangUp() {
  return WaitUntil([&] { return streams_.empty(); });
}

std::vector<v1::AttemptProgress> FakeCoordinator::progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

std::size_t FakeCoordinator::finished_count() const {
  const std::lock_guard lock(mutex_);
  return finished_.size();
}

std::size_t FakeCoordinator::streams_begun() const {
  const std::lock_guard lock(mutex_);
  return streams_begun_;
}

std::map<std::string, std::string> FakeCoordinator::artifacts() const {
  const std::lock_guard lock(mutex_);
  return artifacts_;
}

int FakeCoordinator::uploads_refused() const {
  const std::lock_guard lock(mutex_);
  return uploads_refused_;
}

grpc::Status FakeCoordinator::CheckToken(const grpc::ServerContext& context) const {
  const auto found = context.client_metadata().find("authorization");
  if (found != context.client_metadata().end() && found->second == absl::StrCat("Bearer ", token_)) {
    return grpc::Status::OK;
  }
  return {grpc::StatusCode::UNAUTHENTICATED, "wrong token"};
}

void FakeCoordinator::Keep(const v1::GroupMessage& message) {
  const std::lock_guard lock(mutex_);
  if (message.has_hello()) hellos_.push_back(message.hello());
  if (message.has_progress()) progress_.push_back(message.progress());
  if (message.has_finished()) finished_.push_back(message.finished());
  changed_.notify_all();
}

grpc::Status FakeCoordinator::Attach(grpc::ServerContext* context, Stream* stream) {
  {
    const std::lock_guard lock(mutex_);
    ++streams_begun_;
    if (!refusal_.ok()) return refusal_;
  }
  if (grpc::Status known = CheckToken(*context); !known.ok()) return known;
  {
    const std::lock_guard lock(mutex_);
    streams_.push_back({context, stream});
  }
  for (v1::GroupMessage message; stream->Read(&message);) {
    Keep(message);
    bool acknowledges = false;
    {
      const std::lock_guard lock(mutex_);
      acknowledges = acknowledges_;
    }
    if (message.has_finished() && acknowledges) Acknowledge(message.finished().attempt());
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(streams_, [&](const OpenStream& open) { return open.stream == stream; });
  changed_.notify_all();
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::UploadArtifact(grpc::ServerContext* context,
                                             grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                                             v1::UploadArtifactResponse* /*response*/) {
  if (grpc::Status known = CheckToken(*context); !known.ok()) return known;
  {
    const std::lock_guard lock(mutex_);
    if (!upload_failures_.empty()) {
      grpc::Status failure = upload_failures_.front();
      upload_failures_.erase(upload_failures_.begin());
      ++uploads_refused_;
      return failure;
    }
  }
  v1::UploadArtifactRequest request;
  if (!reader->Read(&request) || !request.has_begin())
    return {grpc::StatusCode::INVALID_ARGUMENT, "no begin"};
  const v1::UploadArtifactRequest::Begin begin = request.begin();
  std::string bytes;
  while (reader->Read(&request)) bytes += request.data();
  if (static_cast<std::int64_t>(bytes.size()) != begin.artifact().size_bytes() ||
      Sha256Hex(bytes) != begin.artifact().sha256()) {
    return {grpc::StatusCode::DATA_LOSS, "damaged"};
  }
  const std::lock_guard lock(mutex_);
  artifacts_[absl::StrCat(begin.attempt().job_id(), "/", begin.attempt().attempt(), "/",
                          begin.artifact().file_name())] = std::move(bytes);
  changed_.notify_all();
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::DownloadInput(grpc::ServerContext* context,
                                            const v1::DownloadInputRequest* request,
                                            grpc::ServerWriter<v1::DownloadInputResponse>* writer) {
  if (grpc::Status known = CheckToken(*context); !known.ok()) return known;
  std::string bytes;
  {
    const std::lock_guard lock(mutex_);
    const auto found = inputs_.find(request->sha256());
    if (found == inputs_.end()) return {grpc::StatusCode::NOT_FOUND, "no such input"};
    bytes = found->second;
  }
  constexpr std::size_t kPieceBytes = 1000;  // several pieces even of a small picture
  for (std::size_t at = 0; at < bytes.size(); at += kPieceBytes) {
    v1::DownloadInputResponse response;
    response.set_data(bytes.substr(at, kPieceBytes));
    if (!writer->Write(response)) break;
  }
  return grpc::Status::OK;
}

}  // namespace ovi
