// The coordinator's side of Groups, for tests: gives orders, keeps what it is told, and fails as asked.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ovi/v1/groups.grpc.pb.h"

namespace ovi {

v1::AttemptRef RefOf(const std::string& job_id, int attempt);

// Thread-safe. Every Wait gives up after a minute, which no test should ever see.
class FakeCoordinator final : public v1::Groups::Service {
 public:
  explicit FakeCoordinator(std::string token);
  ~FakeCoordinator() override;

  // The same one for as long as this object lives, also across Stop and Start.
  std::string address() const { return address_; }
  void Start();
  // As a coordinator that ends: streams break, and nobody listens.
  void Stop();
  // Breaks the streams, and goes on listening.
  void BreakStreams();

  // Orders go to the group that dialled last; false when there is none.
  bool Run(const v1::AttemptRef& attempt, const v1::JobSpec& spec);
  bool Cancel(const v1::AttemptRef& attempt);
  bool ShutDown();
  // Ended attempts are acknowledged at once, unless this is false.
  void set_acknowledges(bool acknowledges);
  bool Acknowledge(const v1::AttemptRef& attempt);

  // Files for DownloadInput, by their own hash, which is returned. `claimed`: another hash to serve it under.
  std::string AddInput(const std::string& bytes, const std::string& claimed = "");
  // Groups that dial from now on are sent away.
  void RefuseGroups(grpc::Status status);
  // The next uploads end with these, in this order.
  void FailUploads(std::vector<grpc::Status> statuses);

  // What it was told, in order. The Wait functions return when there are `count` of them in all.
  std::vector<v1::GroupHello> WaitForHellos(std::size_t count);
  std::vector<v1::AttemptFinished> WaitForFinished(std::size_t count);
  // The first progress that `matches`; false when it never came.
  bool WaitForProgress(const std::function<bool(const v1::AttemptProgress&)>& matches);
  // Until no stream is open.
  bool WaitForHangUp();
  std::vector<v1::AttemptProgress> progress() const;
  std::size_t finished_count() const;
  std::size_t streams_begun() const;
  // Verified bytes, by job id, attempt and file name: "12/1/video.mp4".
  std::map<std::string, std::string> artifacts() const;
  int uploads_refused() const;

 private:
  using Stream = grpc::ServerReaderWriter<v1::GroupCommand, v1::GroupMessage>;
  struct OpenStream {
    grpc::ServerContext* context;
    Stream* stream;
  };

  grpc::Status Attach(grpc::ServerContext* context, Stream* stream) override;
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::UploadArtifactResponse* response) override;
  grpc::Status DownloadInput(grpc::ServerContext* context, const v1::DownloadInputRequest* request,
                             grpc::ServerWriter<v1::DownloadInputResponse>* writer) override;
  grpc::Status CheckToken(const grpc::ServerContext& context) const;
  bool Send(const v1::GroupCommand& command);
  bool WaitUntil(const std::function<bool()>& done);
  void Keep(const v1::GroupMessage& message);

  const std::string token_;
  std::string address_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<OpenStream> streams_;  // the last is the one to speak to
  std::size_t streams_begun_ = 0;
  bool acknowledges_ = true;
  grpc::Status refusal_;
  std::vector<v1::GroupHello> hellos_;
  std::vector<v1::AttemptProgress> progress_;
  std::vector<v1::AttemptFinished> finished_;
  std::map<std::string, std::string> inputs_;
  std::map<std::string, std::string> artifacts_;
  std::vector<grpc::Status> upload_failures_;
  int uploads_refused_ = 0;
};

}  // namespace ovi
