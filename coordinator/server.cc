#include "coordinator/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "coordinator/controller/controller.h"
#include "coordinator/rpc/cluster_service.h"
#include "coordinator/rpc/groups_service.h"
#include "coordinator/rpc/jobs_service.h"
#include "coordinator/rpc/nodes_service.h"

namespace ovi {
namespace {

namespace fs = std::filesystem;

constexpr int kMessageBytesMax =
    16 << 20;  // above what any request may be, so that too large ones get our message
constexpr int kKeepaliveMs = 5'000;
// For calls in progress. The whole of it passes wherever a client is connected, since an idle one does not
// notice that it should go.
constexpr std::chrono::milliseconds kShutdownGrace{500};

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error && access(path.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("data_dir ", path, ": ", error ? error.message() : "is not writable"));
}

// The secret in `path`, made on the first start.
absl::StatusOr<std::string> KeptSecret(const std::string& path) {
  if (!fs::exists(path)) OVI_RETURN_IF_ERROR(WriteSecretFile(path, NewSecret()));
  return ReadSecretFile(path);
}

absl::StatusOr<Credentials> MakeCredentials(const CoordinatorConfig& config) {
  Credentials::Options options;
  options.insecure = config.insecure;
  OVI_ASSIGN_OR_RETURN(options.node_token, KeptSecret(config.data_dir + "/node_token"));
  OVI_ASSIGN_OR_RETURN(options.group_secret, KeptSecret(config.data_dir + "/group_secret"));
  return Credentials(std::move(options));
}

}  // namespace

struct CoordinatorServer::Parts {
  explicit Parts(Credentials known, const core::Policy& policy)
      : credentials(std::move(known)),
        peers(credentials, {.group_idle_timeout_ms = policy.group_idle_ms_max * 2 + 60'000}),
        logs(peers) {}

  Credentials credentials;
  Peers peers;
  GroupLogs logs;
  NodeBook book;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<ArtifactStore> artifacts;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Controller> controller;
  std::unique_ptr<JobsService> jobs;
  std::unique_ptr<ClusterService> cluster;
  std::unique_ptr<NodesService> nodes;
  std::unique_ptr<GroupsService> groups;
  std::unique_ptr<grpc::Server> server;
  int port = 0;

  UniqueFd lost_event;  // readable once the journal is lost
  std::mutex mutex;
  absl::Status lost;
};

CoordinatorServer::CoordinatorServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(const CoordinatorConfig& config) {
  OVI_RETURN_IF_ERROR(MakeFolder(config.data_dir));
  OVI_ASSIGN_OR_RETURN(Credentials credentials, MakeCredentials(config));
  auto parts = std::make_unique<Parts>(std::move(credentials), config.policy);
  Parts* const all = parts.get();
  all->lost_event = UniqueFd(eventfd(0, EFD_CLOEXEC));
  OVI_ASSIGN_OR_RETURN(all->journal, Journal::Open(config.data_dir + "/journal.db"));
  OVI_ASSIGN_OR_RETURN(all->artifacts, ArtifactStore::Open(config.data_dir + "/artifacts", {}));
  OVI_ASSIGN_OR_RETURN(all->metrics, Metrics::Create(config.metrics_address));
  OVI_ASSIGN_OR_RETURN(all->controller, Controller::Create({.journal = *all->journal,
                                                            .artifacts = *all->artifacts,
                                                            .metrics = *all->metrics,
                                                            .commands = all->peers,
                                                            .on_journal_lost =
                                                                [all](const absl::Status& status) {
                                                                  const std::lock_guard lock(all->mutex);
                                                                  all->lost = status;
                                                                  eventfd_write(all->lost_event.get(), 1);
                                                                }},
                                                           config.policy));
  all->jobs = std::make_unique<JobsService>(JobsService::Parts{.controller = *all->controller,
                                                               .artifacts = *all->artifacts,
                                                               .metrics = *all->metrics,
                                                               .logs = all->logs,
                                                               .data_dir = config.data_dir});
  all->cluster = std::make_unique<ClusterService>(ClusterService::Parts{*all->controller, all->book});
  all->nodes =
      std::make_unique<NodesService>(NodesService::Parts{.controller = *all->controller,
                                                         .peers = all->peers,
                                                         .book = all->book,
                                                         .logs = all->logs,
                                                         .credentials = all->credentials,
                                                         .report_interval_ms = config.report_interval_ms});
  all->groups = std::make_unique<GroupsService>(
      GroupsService::Parts{*all->controller, all->peers, *all->artifacts, all->credentials});

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(config.listen, grpc::InsecureServerCredentials(), &all->port);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  // A second coordinator on the same port would share its connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 5);
  for (grpc::Service* service : std::initializer_list<grpc::Service*>{all->jobs.get(), all->cluster.get(),
                                                                      all->nodes.get(), all->groups.get()}) {
    builder.RegisterService(service);
  }
  all->controller->Start();
  all->server = builder.BuildAndStart();
  if (all->server == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("listen ", config.listen, ": the address cannot be used, or is taken"));
  }
  Log(LogLevel::kInfo, "coordinator serves",
      {{"listen", config.listen}, {"port", all->port}, {"data_dir", config.data_dir}});
  return std::unique_ptr<CoordinatorServer>(new CoordinatorServer(std::move(parts)));
}

CoordinatorServer::~CoordinatorServer() {
  parts_->peers.EndAll(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the coordinator stops"));
  parts_->server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  // Calls that wait for the controller get their answer before the server is gone.
  parts_->controller->Stop();
  parts_->server->Wait();
}

absl::Status CoordinatorServer::Wait(int stop_fd) {
  pollfd fds[] = {{.fd = stop_fd, .events = POLLIN, .revents = 0},
                  {.fd = parts_->lost_event.get(), .events = POLLIN, .revents = 0}};
  while (poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  const std::lock_guard lock(parts_->mutex);
  return parts_->lost;
}

int CoordinatorServer::port() const {
  return parts_->port;
}

}  // namespace ovi
