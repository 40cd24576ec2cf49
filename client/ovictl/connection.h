// The channel to the coordinator, and how calls are made on it: with a deadline, the user's token, and an end
// when the user interrupts.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/ovictl/interrupt.h"
#include "ovi/v1/cluster.grpc.pb.h"
#include "ovi/v1/jobs.grpc.pb.h"

namespace ovi::client {

struct ConnectionOptions {
  std::string coordinator;  // host:port
  std::string token;        // shown with every call; "" = none
  double timeout_seconds = 10;
};

// Whether a call is made again while the coordinator does not answer. Only for what may be done twice.
enum class Retry { kNever, kWhileUnavailable };

// Thread-safe. The interrupt must outlive it.
class Connection {
 public:
  // Does not dial yet: the first call does.
  Connection(ConnectionOptions options, Interrupt& interrupt);

  const std::string& coordinator() const { return options_.coordinator; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::Jobs::Stub& jobs() { return *jobs_; }
  v1::Cluster::Stub& cluster() { return *cluster_; }
  Interrupt& interrupt() { return interrupt_; }
  std::chrono::milliseconds timeout() const;

  // One unary call: Call(c.jobs(), &v1::Jobs::Stub::GetJob, request). Errors as FromGrpc makes them.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, Retry retry = Retry::kNever) {
    Response response;
    absl::Status status =
        Run([&](grpc::ClientContext& context) { return (stub.*method)(&context, request, &response); },
            timeout(), retry);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::Job> GetJob(const std::string& id);

  // Any blocking call within `time`; with kWhileUnavailable all tries together, the user told once.
  absl::Status Run(const std::function<grpc::Status(grpc::ClientContext&)>& call,
                   std::chrono::milliseconds time, Retry retry);

  // The token, for a call that is made without Run.
  void AddToken(grpc::ClientContext& context) const;
  // The error of such a call.
  absl::Status ErrorOf(const grpc::Status& status, const grpc::ClientContext& context) const;

 private:
  ConnectionOptions options_;
  Interrupt& interrupt_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
  std::unique_ptr<v1::Cluster::Stub> cluster_;
};

}  // namespace ovi::client
