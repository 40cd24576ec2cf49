#include "tests/cluster/test_cluster.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/process_info.h"
#include "base/sha256.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "tests/cluster/processes.h"
#include "tests/sanitizer_reports.h"

namespace ovi {
namespace {

using Clock = std::chrono::steady_clock;

// Between two looks at something that tells nobody when it changes, such as /proc.
constexpr std::chrono::milliseconds kLook{20};
constexpr int kStartSeconds = 30;

std::chrono::system_clock::time_point In(int seconds) {
  return std::chrono::system_clock::now() + std::chrono::seconds(seconds);
}

std::unique_ptr<Subprocess> Launch(const std::vector<std::string>& argv, const TempFolder& folder) {
  SubprocessOptions options;
  options.environment = ReportingEnvironment(folder.path());
  options.stderr_bytes_max = 64 << 10;
  options.own_process_group = true;
  absl::StatusOr<std::unique_ptr<Subprocess>> started = Subprocess::Start(argv, options);
  EXPECT_TRUE(started.ok()) << started.status();
  return started.ok() ? *std::move(started) : nullptr;
}

ExitStatus Stop(std::unique_ptr<Subprocess> process, int signal) {
  process->Kill(signal);
  return process->Wait();
}

}  // namespace

bool Await(int seconds, const std::function<bool()>& there) {
  const auto deadline = Clock::now() + std::chrono::seconds(seconds);
  while (!there()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

int FreePort() {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

TestCluster::TestCluster(Options options)
    : options_(std::move(options)), port_(FreePort()), metrics_port_(FreePort()) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  const auto channel = grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), arguments);
  jobs_ = v1::Jobs::NewStub(channel);
  cluster_ = v1::Cluster::NewStub(channel);
}

TestCluster::~TestCluster() {
  for (const auto& [name, agent] : agents_) {
    if (agent == nullptr) continue;
    const ExitStatus status = StopAgent(name);
    EXPECT_TRUE(status.ok()) << name << ": " << status.ToString();
  }
  if (coordinator_ != nullptr) {
    const ExitStatus status = StopCoordinator();
    EXPECT_TRUE(status.ok()) << "coordinator: " << status.ToString();
  }
  EXPECT_TRUE(AwaitNoGroupProcesses()) << "left behind: " << absl::StrJoin(GroupProcesses(), "; ");
  EXPECT_EQ(SanitizerReports(folder_.path()), "");
  for (const ProcessSeen& process : ProcessesNaming(folder_.path())) ::kill(process.pid, SIGKILL);
}

std::string TestCluster::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

void TestCluster::StartCoordinator() {
  std::vector<std::string> argv = {OVI_COORDINATOR,
                                   "--listen",
                                   address(),
                                   "--data-dir",
                                   folder_ / "coordinator",
                                   "--metrics",
                                   options_.metrics ? absl::StrCat("127.0.0.1:", metrics_port_) : "off"};
  for (const std::string& set : options_.coordinator_sets) argv.insert(argv.end(), {"--set", set});
  coordinator_ = Launch(argv, folder_);
  ASSERT_NE(coordinator_, nullptr);
  // The channel may not have noticed yet that the coordinator before this one died.
  const bool answers = Await(kStartSeconds, [this] {
    grpc::ClientContext context;
    context.set_deadline(In(kStartSeconds));
    context.set_wait_for_ready(true);
    v1::ClusterInfoResponse info;
    return coordinator_->HasEnded() || cluster_->ClusterInfo(&context, {}, &info).ok();
  });
  ASSERT_TRUE(answers && !coordinator_->HasEnded()) << "the coordinator does not answer, or ended";
}

void TestCluster::StartAgent(const std::string& name, const std::vector<std::string>& sets) {
  std::string yaml = absl::StrCat(
      "name: ", name, "\ncoordinator: ", address(), "\nnode_token_file: ", folder_ / "coordinator/node_token",
      "\nstate_dir: ", folder_ / name,
      "\nmodels_dir: " OVI_SOURCE_DIR "/configs/models\nmetrics_address: \"\"\n",
      // Open MPI keeps memory until its process ends, in modules that are closed by then, so that no list
      // of suppressions tells its leaks from ours: in ranks they are not looked for.
      "groups:\n  environment: {LSAN_OPTIONS: detect_leaks=0}\ngpus:\n");
  for (int i = 0; i < options_.gpus; ++i) {
    absl::StrAppend(&yaml, "  - {name: declared, vram: \"", options_.gpu_bytes, "\"}\n");
  }
  std::vector<std::string> argv = {OVI_AGENT, "--config", folder_.Write(name + ".yaml", yaml)};
  for (const std::string& set : sets) argv.insert(argv.end(), {"--set", set});
  agents_[name] = Launch(argv, folder_);
}

void TestCluster::AwaitNodes(int count) {
  int ready = 0;
  const bool there = Await(kStartSeconds, [&] {
    grpc::ClientContext context;
    context.set_deadline(In(5));
    v1::ListNodesResponse nodes;
    ready = 0;
    if (!cluster_->ListNodes(&context, {}, &nodes).ok()) return false;
    for (const v1::Node& node : nodes.nodes()) ready += node.state() == v1::NODE_STATE_READY;
    return ready >= count;
  });
  ASSERT_TRUE(there) << ready << " of " << count << " nodes are ready";
}

void TestCluster::KillCoordinator() {
  Stop(std::move(coordinator_), SIGKILL);
}
void TestCluster::KillAgent(const std::string& name) {
  Stop(std::move(agents_.at(name)), SIGKILL);
}
ExitStatus TestCluster::StopCoordinator() {
  return Stop(std::move(coordinator_), SIGTERM);
}
ExitStatus TestCluster::StopAgent(const std::string& name) {
  return Stop(std::move(agents_.at(name)), SIGTERM);
}

ExitStatus TestCluster::AwaitAgentEnd(const std::string& name) {
  return std::exchange(agents_.at(name), nullptr)->Wait();
}

std::string TestCluster::Submit(const v1::JobSpec& spec, const std::string& request_id) {
  grpc::ClientContext context;
  context.set_deadline(In(30));
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  request.set_request_id(request_id);
  v1::SubmitJobResponse response;
  const grpc::Status status = jobs_->SubmitJob(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.job_id();
}

v1::Job TestCluster::WatchUntil(const std::string& job_id, const std::function<bool(const v1::Job&)>& done,
                                int seconds) {
  const auto deadline = In(seconds);
  v1::Job last;
  while (std::chrono::system_clock::now() < deadline) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    context.set_wait_for_ready(true);
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    const auto stream = jobs_->WatchJob(&context, request);
    v1::WatchJobResponse response;
    while (stream->Read(&response)) {
      last = response.job();
      if (!done(last)) continue;
      context.TryCancel();
      return last;
    }
    const grpc::Status status = stream->Finish();
    if (status.ok()) break;  // the job has ended
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) break;
  }
  ADD_FAILURE() << "job " << job_id << " did not come so far: " << last.ShortDebugString();
  return last;
}

v1::Job TestCluster::AwaitEnd(const std::string& job_id, int seconds) {
  return WatchUntil(
      job_id, [](const v1::Job& job) { return job.state() >= v1::JOB_STATE_COMPLETED; }, seconds);
}

absl::StatusOr<std::string> TestCluster::Fetch(const std::string& job_id, const std::string& file_name) {
  grpc::ClientContext context;
  context.set_deadline(In(30));
  v1::DownloadArtifactRequest request;
  request.set_job_id(job_id);
  request.set_file_name(file_name);
  const auto stream = jobs_->DownloadArtifact(&context, request);
  v1::DownloadArtifactResponse response;
  std::string bytes;
  v1::Artifact artifact;
  while (stream->Read(&response)) {
    if (response.has_artifact()) artifact = response.artifact();
    bytes += response.data();
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return absl::InternalError(status.error_message());
  if (Sha256Hex(bytes) != artifact.sha256()) return absl::DataLossError("the hash differs");
  return bytes;
}

std::vector<std::string> TestCluster::GroupProcesses() const {
  std::vector<std::string> out;
  for (const ProcessSeen& process : ProcessesNaming(folder_.path())) {
    const std::string name = ProgramName(process);
    if (name == "ovi-coordinator" || name == "ovi-agent") continue;
    out.push_back(absl::StrCat(process.pid, " ", absl::StrJoin(process.argv, " ")));
  }
  return out;
}

bool TestCluster::AwaitNoGroupProcesses(int seconds) const {
  return Await(seconds, [this] { return GroupProcesses().empty(); });
}

bool TestCluster::AwaitFile(const std::string& end, int seconds) const {
  return Await(seconds, [&] { return HasFile(end); });
}

bool TestCluster::AwaitNoFile(const std::string& end, int seconds) const {
  return Await(seconds, [&] { return !HasFile(end); });
}

bool TestCluster::HasFile(const std::string& end) const {
  // Files come and go while one looks.
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(folder_.path(), error), last; it != last;
       it.increment(error)) {
    if (error) return false;
    if (it->path().string().ends_with(end)) return true;
  }
  return false;
}

pid_t TestCluster::PidOf(const std::string& program) const {
  for (const ProcessSeen& process : ProcessesNaming(folder_.path())) {
    if (ProgramName(process) == program) return process.pid;
  }
  return 0;
}

pid_t TestCluster::PidOfRank(int rank) const {
  const std::string mark = absl::StrCat("OMPI_COMM_WORLD_RANK=", rank);
  for (const ProcessSeen& process : ProcessesNaming(folder_.path())) {
    if (ProgramName(process) == "ovi-worker" && HasEnvironment(process.pid, mark)) return process.pid;
  }
  return 0;
}

std::vector<std::string> TestCluster::ProcessesOfGroup(const std::string& group_id) const {
  std::vector<std::string> out;
  for (const ProcessSeen& process : ProcessesNaming(absl::StrCat("/groups/", group_id))) {
    const bool ours = absl::StrJoin(process.argv, " ").find(folder_.path()) != std::string::npos;
    if (ours && ProgramName(process) != "ovi-agent") out.push_back(absl::StrJoin(process.argv, " "));
  }
  return out;
}

v1::JobSpec MiniJob(int steps) {
  v1::JobSpec spec;
  spec.set_model_name("mini-ovi");
  spec.set_text_prompt("A red circle moves right across a black background. Audio: a low steady tone.");
  spec.set_sample_steps(steps);
  spec.set_seed(103);
  spec.set_gpu_allocation(v1::GPU_ALLOCATION_SINGLE);
  return spec;
}

}  // namespace ovi
