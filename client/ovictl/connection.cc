#include "client/ovictl/connection.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/status.h"
#include "client/ovictl/errors.h"

namespace ovi::client {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::system_clock;  // gRPC's deadlines are wall-clock times

constexpr milliseconds kPauseMin(100);
constexpr milliseconds kPauseMax(1000);

// The seam for TLS: other credentials, nothing else changes.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& coordinator) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // http_proxy is for the web
  arguments.SetMaxReceiveMessageSize(256 << 20);    // a page of 1000 jobs with prompts of 64 KiB
  // After a restart of the coordinator people wait for these.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A coordinator whose machine vanished says nothing: a silent watch finds out this way. Servers refuse
  // pings that come more often than every five minutes, unless they are told to allow them.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 300'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(coordinator, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

Connection::Connection(ConnectionOptions options, Interrupt& interrupt)
    : options_(std::move(options)),
      interrupt_(interrupt),
      channel_(MakeChannel(options_.coordinator)),
      jobs_(v1::Jobs::NewStub(channel_)),
      cluster_(v1::Cluster::NewStub(channel_)) {}

milliseconds Connection::timeout() const {
  return milliseconds(static_cast<std::int64_t>(options_.timeout_seconds * 1000));
}

void Connection::AddToken(grpc::ClientContext& context) const {
  if (!options_.token.empty()) context.AddMetadata("authorization", "Bearer " + options_.token);
}

absl::Status Connection::ErrorOf(const grpc::Status& status, const grpc::ClientContext& context) const {
  // What the transport made up itself looks the same in code and message; only this text tells.
  const bool answered = context.debug_error_string().find("rror received from peer") != std::string::npos;
  return FromGrpc(status, {.coordinator = options_.coordinator,
                           .timeout_seconds = options_.timeout_seconds,
                           .answered = answered,
                           .interrupted = interrupt_.triggered()});
}

absl::StatusOr<v1::Job> Connection::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_job_id(id);
  OVI_ASSIGN_OR_RETURN(v1::GetJobResponse response, Call(jobs(), &v1::Jobs::Stub::GetJob, request));
  return std::move(*response.mutable_job());
}

absl::Status Connection::Run(const std::function<grpc::Status(grpc::ClientContext&)>& call, milliseconds time,
                             Retry retry) {
  const auto end = Clock::now() + time;
  milliseconds pause = kPauseMin;
  absl::Status error;
  for (bool told = false;; told = true) {
    grpc::ClientContext context;
    context.set_deadline(end);
    AddToken(context);
    grpc::Status status;
    {
      const auto subscription = interrupt_.Subscribe([&context] { context.TryCancel(); });
      status = call(context);
    }
    if (status.ok()) return absl::OkStatus();
    const absl::Status new_error = ErrorOf(status, context);
    // That the last try of several had little time left says less than why they were needed.
    if (!told || !absl::IsDeadlineExceeded(new_error)) error = new_error;
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    if (retry == Retry::kNever || !absl::IsUnavailable(error) || left < kPauseMin) return error;
    if (!told) {
      std::fprintf(stderr, "ovictl: coordinator %s is not ready; trying again for up to %g s\n",
                   options_.coordinator.c_str(), static_cast<double>(time.count()) / 1000);
    }
    // The last try comes shortly before the end.
    if (interrupt_.WaitFor(std::min(pause, left - kPauseMin / 2))) return absl::CancelledError("interrupted");
    pause = std::min(pause * 2, kPauseMax);
  }
}

}  // namespace ovi::client
