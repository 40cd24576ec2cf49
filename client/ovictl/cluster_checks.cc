// The checks of the coordinator and what it knows.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <future>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "client/ovictl/checks.h"

namespace ovi::client {
namespace {

// grpc.health.v1.Health/Check, by its bytes: Debian's health.proto would be one more package for two fields.
// Request: `service` (1) is "", the server as a whole, which is no bytes at all. Response: `status` (1), 1 =
// SERVING.
constexpr const char* kHealthCheck = "/grpc.health.v1.Health/Check";
constexpr std::string_view kServing = "\x08\x01";

absl::StatusOr<bool> IsServing(Connection& connection) {
  grpc::ByteBuffer answer;
  const auto check = [&](grpc::ClientContext& context) {
    const grpc::ByteBuffer request(nullptr, 0);
    std::promise<grpc::Status> done;
    grpc::GenericStub(connection.channel())
        .UnaryCall(&context, kHealthCheck, grpc::StubOptions(), &request, &answer,
                   [&done](grpc::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  };
  OVI_RETURN_IF_ERROR(connection.Run(check, connection.timeout(), Retry::kNever));
  grpc::Slice bytes;
  if (!answer.DumpToSingleSlice(&bytes).ok()) return false;
  return std::string_view(reinterpret_cast<const char*>(bytes.begin()), bytes.size()) == kServing;
}

// Whether anything accepts connections at host:port; false also where the name means nothing.
bool AcceptsConnections(const std::string& address, std::chrono::milliseconds timeout) {
  const std::size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const addrinfo wanted{.ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), address.c_str() + colon + 1, &wanted, &found) != 0) return false;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  for (const addrinfo* one = addresses.get(); one != nullptr; one = one->ai_next) {
    const UniqueFd fd(
        ::socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, one->ai_protocol));
    if (!fd.valid()) continue;
    if (::connect(fd.get(), one->ai_addr, one->ai_addrlen) == 0) return true;
    pollfd polled{fd.get(), POLLOUT, 0};
    int error = 0;
    socklen_t size = sizeof(error);
    const bool answered = ::poll(&polled, 1, static_cast<int>(timeout.count())) == 1;
    if (answered && ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0)
      return true;
  }
  return false;
}

CheckResult CheckCoordinator(Session& session) {
  Connection& connection = *session.connection;
  const std::string& address = connection.coordinator();
  const absl::StatusOr<bool> serving = IsServing(connection);
  if (serving.ok() && *serving) return {"coordinator", Verdict::kOk, address + " serves", ""};
  if (serving.ok()) {
    return {"coordinator", Verdict::kFail, address + " answers, but is not ready",
            "its log says what it waits for"};
  }
  if (absl::IsUnimplemented(serving.status())) {
    return {"coordinator", Verdict::kWarning, address + " answers, but tells nothing of its health",
            "is it an ovi-coordinator?"};
  }
  const bool has_port = !address.starts_with("unix:") && !address.starts_with("dns:");
  if (has_port && AcceptsConnections(address, connection.timeout())) {
    return {"coordinator", Verdict::kFail,
            absl::StrCat("something else than a coordinator listens on ", address),
            "find it with `ss -ltnp`, or give another address (--coordinator, OVI_COORDINATOR)"};
  }
  return {"coordinator", Verdict::kFail, absl::StrCat("nothing answers on ", address),
          "start ovi-coordinator there, or give another address (--coordinator, OVI_COORDINATOR)"};
}

CheckResult CheckClock(Session& session) {
  const std::int64_t sent_ms = NowMs();
  const auto info = session.connection->Call(session.connection->cluster(), &v1::Cluster::Stub::ClusterInfo,
                                             v1::ClusterInfoRequest());
  const std::int64_t received_ms = NowMs();
  if (!info.ok()) {
    return {"clock", Verdict::kFail, std::string(info.status().message()),
            "nothing can be asked of the coordinator"};
  }
  const std::int64_t round_trip_ms = received_ms - sent_ms;
  return JudgeClock(info->now_ms() - (sent_ms + round_trip_ms / 2), round_trip_ms);
}

CheckResult CheckNodes(Session& session) {
  const auto response = session.connection->Call(session.connection->cluster(), &v1::Cluster::Stub::ListNodes,
                                                 v1::ListNodesRequest());
  if (!response.ok()) {
    return {"nodes", Verdict::kFail, std::string(response.status().message()),
            "nothing can be asked of the coordinator"};
  }
  return JudgeNodes({response->nodes().begin(), response->nodes().end()});
}

}  // namespace

std::vector<Check> ClusterChecks(Session& session) {
  return {[&session] { return CheckCoordinator(session); }, [&session] { return CheckClock(session); },
          [&session] { return CheckNodes(session); }};
}

}  // namespace ovi::client
